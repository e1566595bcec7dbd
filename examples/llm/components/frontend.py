"""The frontend: OpenAI's API over HTTP. It asks the processor for a plan and streams from the worker itself."""

from fastapi import FastAPI

from components.processor import Processor
from components.worker import Worker
from dynamo.llm.frontend import OpenAIFrontend
from dynamo.llm.models import DiscoveredModels
from dynamo.llm.planning import RemotePlanner
from dynamo.sdk import async_on_start, depends, on_shutdown, server_context, service

app = FastAPI(title="OpenAI API")


@service(dynamo={"namespace": "dynamo"}, resources={"cpu": 1}, workers=1, app=app)
class Frontend:
    processor = depends(Processor)
    worker = depends(Worker)

    def __init__(self, max_concurrent: int = 8192) -> None:
        self.max_concurrent = max_concurrent

    @async_on_start
    async def start(self) -> None:
        runtime = server_context.runtime
        self.planner = RemotePlanner(self.processor.plan, self.processor.report)
        models = DiscoveredModels(runtime, lambda _model: self.planner)
        await models.start()
        app.mount("/", OpenAIFrontend(models, registry=runtime.metrics, max_concurrent=self.max_concurrent))

    @on_shutdown
    async def stop(self) -> None:
        await self.planner.close()
