"""Hello world in the style of graphs written for NVIDIA Dynamo's Python SDK: JSON text as payload, an author's
FastAPI application, a `StreamingResponse`, old import paths."""

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from dynamo.sdk import api, async_on_start, depends, dynamo_context, endpoint, service
from dynamo.sdk.lib.config import ServiceConfig
from dynamo.sdk.lib.logging import configure_server_logging


class RequestType(BaseModel):
    text: str


@service(dynamo={"enabled": True, "namespace": "inference"}, resources={"cpu": "1"}, traffic={"timeout": 30}, workers=1)
class Backend:
    def __init__(self) -> None:
        configure_server_logging(service_name="Backend")
        self.message = ServiceConfig.get_instance().get("Backend", {}).get("message", "back")

    @endpoint()
    async def generate(self, req: RequestType):
        for token in f"{req.text}-{self.message}".split():
            yield f"Backend: {token}"


@service(dynamo={"enabled": True, "namespace": "inference"})
class Middle:
    backend = depends(Backend)

    @async_on_start
    async def async_init(self):
        runtime = dynamo_context["runtime"]
        self.client = await runtime.namespace("inference").component("Backend").endpoint("generate").client()

    @endpoint()
    async def generate(self, req: RequestType):
        request = RequestType(text=f"{req.text}-mid").model_dump_json()
        if req.text.startswith("a"):
            async for response in self.backend.generate(request):
                yield f"Middle: {response}"
        else:
            async for response in await self.client.round_robin(request):
                yield f"Middle: {response.data()}"


@service(dynamo={"enabled": True, "namespace": "inference"}, app=FastAPI(title="Hello World!"))
class Frontend:
    middle = depends(Middle)

    @api()
    async def generate(self, request: RequestType):
        async def content_generator():
            async for response in self.middle.generate(request.model_dump_json()):
                yield f"Frontend: {response}"

        return StreamingResponse(content_generator())
