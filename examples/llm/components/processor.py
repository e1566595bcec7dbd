"""The processor: chat template, tokenisation, and the choice of a worker. Tokens do not pass through it."""

from weakref import WeakKeyDictionary

from components.kv_router import Router
from components.worker import Worker
from dynamo.llm.models import Catalogue, LoadedModel
from dynamo.llm.planning import AnyWorker, LocalPlanner, PlanAnswer, PlanCall, Reports, answer_plan
from dynamo.llm.routing import RouterPicker
from dynamo.sdk import async_on_start, depends, endpoint, server_context, service


@service(dynamo={"namespace": "dynamo"}, resources={"cpu": 1}, workers=1)
class Processor:
    worker = depends(Worker)
    router = depends(Router)  # where the graph links it; otherwise workers take requests in turn

    def __init__(self) -> None:
        # Weak: a model that was loaded anew, or that nobody serves any more, leaves with its tokenizer.
        self.planners: WeakKeyDictionary[LoadedModel, LocalPlanner] = WeakKeyDictionary()

    @async_on_start
    async def start(self) -> None:
        self.catalogue = Catalogue(server_context.runtime)
        await self.catalogue.start()
        if self.router:
            self.picker = RouterPicker(await self.router.route.client(), await self.router.report.client())
        else:
            self.picker = AnyWorker()

    @endpoint()
    async def plan(self, call: PlanCall) -> PlanAnswer:
        """An OpenAI request as engine requests, each with its worker."""
        model = await self.catalogue.load(call.model())
        planner = self.planners.get(model)
        if planner is None:
            planner = self.planners[model] = LocalPlanner(model.preprocessor, self.picker)
        return await answer_plan(planner, call)

    @endpoint()
    async def report(self, reports: Reports) -> int:
        """First tokens and ends of requests, for whoever balances load."""
        return reports.tell(self.picker)
