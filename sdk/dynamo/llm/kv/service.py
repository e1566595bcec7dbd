"""The KV router with everything around it, for the process that hosts it: fed by its workers, followed by people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamo.llm.kv.decision import Decision
from dynamo.llm.kv.feed import KvFeed
from dynamo.llm.kv.follower import WorkerFollower
from dynamo.llm.kv.options import InvalidOption, RouteOverrides, RouterOptions, read_options
from dynamo.llm.kv.replicas import ReplicaSync
from dynamo.llm.kv.router import KvRouter
from dynamo.llm.kv.router_metrics import HIT_RATE_SUBJECT, HitRateEvents, RouterMetrics
from dynamo.llm.kv.scheduler import AllWorkersBusy, NoCandidates
from dynamo.llm.planning import Reports
from dynamo.llm.routing import RouteAnswer, RouteCall

if TYPE_CHECKING:
    from dynamo.runtime import DistributedRuntime
    from dynamo.runtime.component import Component


class RouterService:
    """A `KvRouter` kept current by the workers of one component.

    `own` is the component under which the router serves its feed and finds its fellow replicas.
    """

    def __init__(
        self, runtime: DistributedRuntime, options: RouterOptions, *, workers: Component, own: Component
    ) -> None:
        self.router = KvRouter(options)
        self.router.observers.append(RouterMetrics(runtime.metrics))
        self._feed = KvFeed(self.router)
        self._follower = WorkerFollower(self.router, workers)
        self._sync = ReplicaSync(self.router, own)
        self._runtime = runtime
        self._own = own

    async def start(self) -> None:
        """Follow the workers, and serve. Raises `DiscoveryError`."""
        publisher = await self._runtime.namespace(self._own.namespace).publisher(HIT_RATE_SUBJECT)
        self.router.observers.append(HitRateEvents(publisher))
        await self._follower.start()
        await self._sync.start()
        await self._feed.serve(self._own)

    async def close(self) -> None:
        await self._follower.close()
        await self._sync.close()
        self._feed.close()

    def route(self, call: RouteCall) -> RouteAnswer:
        """Choose a worker, and count the request as its load until it is reported done."""
        try:
            decision = decide(self.router, call)
        except InvalidOption as error:
            return RouteAnswer(invalid=str(error))
        except AllWorkersBusy:
            return RouteAnswer(busy=True)
        except NoCandidates:
            return RouteAnswer()
        worker = decision.worker
        return RouteAnswer(instance_id=worker.instance, dp_rank=worker.dp_rank, overlap_blocks=decision.overlap_blocks)

    def tell(self, reports: Reports) -> int:
        """Take reports of routed requests; how many there were."""
        for report in reports.reports:
            if report.event == "first":
                self.router.first_token(report.request_id, report.cached_tokens)
            elif report.event == "progress":
                self.router.progress(report.request_id, report.generated_tokens)
            else:
                self.router.finished(report.request_id)
        return len(reports.reports)


def decide(router: KvRouter, call: RouteCall) -> Decision:
    """A committed decision. Raises what `KvRouter.find_best` raises, and InvalidOption for bad overrides."""
    overrides = None if call.overrides is None else read_options(call.overrides, RouteOverrides)
    decision = router.find_best(
        call.tokens,
        request_id=call.request_id,
        lora=call.lora,
        salt=call.salt,
        overrides=overrides,
        excluded=call.without,
    )
    router.routed(decision)
    return decision
