"""Three services in a row: Frontend -> Middle -> Backend.

Start them with `dynamo serve hello_world:Frontend`, then:

    curl -X POST localhost:8000/generate -H 'content-type: application/json' -d '{"text": "test"}'
"""

import logging

from pydantic import BaseModel

from dynamo.sdk import api, depends, endpoint, service

logger = logging.getLogger(__name__)


class RequestType(BaseModel):
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
        async for response in self.backend.generate(RequestType(text=f"{req.text}-{self.message}")):
            yield f"Middle: {response}"


@service(dynamo={"namespace": "inference"})
class Frontend:
    middle = depends(Middle)

    @api
    async def generate(self, request: RequestType):
        """Stream the pipeline's answer over HTTP."""
        async for response in self.middle.generate(request):
            yield f"Frontend: {response}"
