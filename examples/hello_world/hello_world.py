"""Three services in a row: Frontend -> Middle -> Backend.

Start them with `dynamo serve hello_world:Frontend`, then:

    curl -X POST localhost:8000/generate -H 'content-type: application/json' -d '{"text": "test"}'
"""

import logging

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from dynamo.sdk import api, depends, endpoint, service

logger = logging.getLogger(__name__)


class RequestType(BaseModel):
    text: str


class ResponseType(BaseModel):
    text: str


@service(dynamo={"namespace": "inference"}, resources={"cpu": 1, "memory": "500Mi"}, workers=1)
class Backend:
    def __init__(self, message: str = "back") -> None:
        self.message = message
        logger.info("Backend answers with %r", message)

    @endpoint()
    async def generate(self, req: RequestType):
        """One item a word."""
        for token in f"{req.text}-{self.message}".split():
            yield f"Backend: {token}"


@service(dynamo={"namespace": "inference"})
class Middle:
    backend = depends(Backend)

    def __init__(self, message: str = "mid") -> None:
        self.message = message
        logger.info("Middle adds %r", message)

    @endpoint()
    async def generate(self, req: RequestType):
        """Pass the request on, and each item back."""
        request = RequestType(text=f"{req.text}-{self.message}")
        async for response in self.backend.generate(request.model_dump_json()):
            yield f"Middle: {response}"


@service(dynamo={"namespace": "inference"}, app=FastAPI(title="Hello World!"))
class Frontend:
    middle = depends(Middle)

    @api()
    async def generate(self, request: RequestType):
        """Stream the pipeline's answer."""

        async def content():
            async for response in self.middle.generate(request.model_dump_json()):
                yield f"Frontend: {response}"

        return StreamingResponse(content())
