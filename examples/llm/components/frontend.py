"""The frontend: OpenAI's API over HTTP. It asks for a plan and streams from the worker itself.

Plans come from the processor. In a graph without one the frontend makes them in its own process, where it asks the
router, if there is one, or leaves the choice to the workers' client.
"""

from components.kv_router import Router
from components.processor import Processor
from components.worker import Worker
from dynamo.llm.frontend import OpenAIFrontend
from dynamo.llm.models import DiscoveredModels, LoadedModel
from dynamo.llm.planning import AnyWorker, LocalPlanner, Picker, RemotePlanner
from dynamo.llm.routing import RouterPicker
from dynamo.sdk import async_on_start, depends, on_shutdown, server_context, service

app = OpenAIFrontend()


@service(dynamo={"namespace": "dynamo"}, resources={"cpu": 1}, workers=1, app=app)
class Frontend:
    processor = depends(Processor)  # where the graph links it
    router = depends(Router)  # where the graph links it here
    worker = depends(Worker)

    def __init__(self, max_concurrent: int = 8192) -> None:
        self.max_concurrent = max_concurrent
        self.remote: RemotePlanner | None = None
        self.picker: Picker = AnyWorker()

    @async_on_start
    async def start(self) -> None:
        runtime = server_context.runtime
        if self.processor:
            self.remote = RemotePlanner(self.processor.plan, self.processor.report)
        elif self.router:
            self.picker = RouterPicker(await self.router.route.client(), await self.router.report.client())
        models = DiscoveredModels(runtime, self.planner)
        await models.start()
        app.serve(models, registry=runtime.metrics, max_concurrent=self.max_concurrent)

    def planner(self, model: LoadedModel) -> RemotePlanner | LocalPlanner:
        return self.remote or LocalPlanner(model.preprocessor, self.picker)

    @on_shutdown
    async def stop(self) -> None:
        if self.remote is not None:
            await self.remote.close()
        if isinstance(self.picker, RouterPicker):
            await self.picker.close()
