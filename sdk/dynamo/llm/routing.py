"""The KV router in a graph: fed by its workers, followed by people, asked by processors.

`RouterService` is the router with everything around it, for the process that hosts it; `RouterPicker` asks one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from dynamo.llm.engines.base import EngineRequest
from dynamo.llm.errors import Busy, NoWorkers, RequestError
from dynamo.llm.kv.decision import Decision
from dynamo.llm.kv.feed import KvFeed
from dynamo.llm.kv.follower import WorkerFollower
from dynamo.llm.kv.hashing import pack_tokens
from dynamo.llm.kv.options import InvalidOption, RouteOverrides, RouterOptions
from dynamo.llm.kv.replicas import ReplicaSync
from dynamo.llm.kv.router import KvRouter
from dynamo.llm.kv.router_metrics import HIT_RATE_SUBJECT, HitRateEvents, RouterMetrics
from dynamo.llm.kv.scheduler import AllWorkersBusy, NoCandidates
from dynamo.llm.pipeline import Planned
from dynamo.llm.planning import Report, Reports, ReportSender

if TYPE_CHECKING:
    from dynamo.runtime import DistributedRuntime
    from dynamo.runtime.client import Client
    from dynamo.runtime.component import Component

RETRY_AFTER = 1.0

SHARES = 16
"""Groups of requests that are spread over router replicas."""


class RouteCall(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One prompt to be routed. `tokens` are its ids as little-endian unsigned 32-bit integers."""

    request_id: str
    tokens: bytes
    lora: str | None = None
    salt: str | None = None
    without: list[int] = []
    overrides: dict[str, Any] | None = None


class RouteAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The worker, or why there is none: `invalid` overrides, everybody `busy`, or nobody there."""

    instance_id: int = 0
    dp_rank: int = 0
    overlap_blocks: int = 0
    invalid: str = ""
    busy: bool = False


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
        except (InvalidOption, msgspec.ValidationError) as error:
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
    """A committed decision. Raises what `KvRouter.find_best` raises, and ValidationError for unknown overrides."""
    overrides = None if call.overrides is None else msgspec.convert(call.overrides, RouteOverrides)
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


class RouterPicker:
    """A `Picker` that asks a router: `route` and `report` are clients of those endpoints of a `RouterService`.

    With several router replicas, a request and the reports of it go to the same one, which counts it.
    """

    def __init__(self, route: Client, report: Client) -> None:
        self._route = route
        self._report = report
        self._senders: dict[str, ReportSender] = {}

    async def pick(
        self, request: EngineRequest, *, without: frozenset[int], overrides: dict[str, Any] | None
    ) -> Planned:
        call = RouteCall(
            request_id=request.request_id,
            tokens=pack_tokens(request.token_ids),
            lora=request.lora,
            salt=request.salt,
            without=sorted(without),
            overrides=overrides,
        )
        stream = await self._route.sticky(call, self._key(request.request_id))
        answer = msgspec.convert(await stream.one(), RouteAnswer)
        if answer.invalid:
            raise RequestError(f"router: {answer.invalid}", param="router", code="invalid_value")
        if answer.busy:
            raise Busy("All workers are busy; please try again shortly.", retry_after=RETRY_AFTER)
        if not answer.instance_id:
            raise NoWorkers("No worker can take this request now; one may be starting.")
        chosen = msgspec.structs.replace(request, overlap_blocks=answer.overlap_blocks, dp_rank=answer.dp_rank)
        return Planned(request=chosen, instance_id=answer.instance_id, overrides=overrides)

    def first_token(self, request_id: str, cached_tokens: int | None) -> None:
        self._add(Report(request_id=request_id, event="first", cached_tokens=cached_tokens))

    def progressed(self, request_id: str, generated_tokens: int) -> None:
        self._add(Report(request_id=request_id, event="progress", generated_tokens=generated_tokens))

    def done(self, request_id: str) -> None:
        self._add(Report(request_id=request_id, event="done"))

    async def close(self) -> None:
        """Send what is left."""
        for sender in self._senders.values():
            await sender.close()

    def _key(self, request_id: str) -> str:
        """Requests of one key share a router, and their reports a message."""
        return str(crc32(request_id.encode()) % SHARES)

    def _add(self, report: Report) -> None:
        key = self._key(report.request_id) if len(self._report.instance_ids()) > 1 else ""
        sender = self._senders.get(key)
        if sender is None:

            async def send(reports: Reports) -> None:
                await (await self._report.sticky(reports, key)).one()

            sender = self._senders[key] = ReportSender(send)
        sender.add(report)
