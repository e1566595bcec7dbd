"""A daemon's past as a source: what it retains, as of the time that a clock shows.

Graphs, replicas and claims come from the event log, figures from the metrics that are kept, lines from the log files,
hit rates from their history. What a daemon keeps of the present alone is refused here, or left out of what is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar, cast

import msgspec

from dynamo_tui.client import calls
from dynamo_tui.client.errors import ClientError, Gone, NotFound
from dynamo_tui.client.exchange import Call, StreamCall
from dynamo_tui.client.resume import ConnectionState, OnConnection
from dynamo_tui.tui.clock import Clock
from dynamo_tui.tui.retained import all_pages, retained_rates
from dynamo_tui.tui.source import FollowsBatches, Source
from dynamo_tui.tui.state_history import StateHistory, show_picture, troubles
from dynamo_tui.tui.store import RATE_FIELDS, GraphKey, Link, RateKey, Store
from dynamod.schema import DaemonInfo, Gpu, KvSnapshot, LogLine, Page, Problem, ServiceRates

T = TypeVar("T")

PAGE = 1_000
EVENTS_READ = 20_000
"""The newest events that are read: at 50 a second those of the last seven minutes, usually those of weeks."""
RATES_STEP_S = 10.0
"""Present rates are over ten seconds: those of the past, too."""
TAIL = 1_000


class Past(FollowsBatches):
    """A TimedSource over a daemon."""

    def __init__(
        self, live: Source, info: DaemonInfo, history: StateHistory, gpus: Sequence[Gpu], start: float, end: float
    ) -> None:
        self.context = live.context
        self.clock = Clock(start, end, at=end, playing=False)
        self.troubles = troubles(history.events)
        self._live = live
        self._info = info
        self._history = history
        self._gpus = gpus

    @property
    def notice(self) -> str:
        unknown = self._history.unknown_at(self.clock.now())
        return f"{unknown} not known: the event log begins later" if unknown else ""

    def fill(self, store: Store) -> None:
        show_picture(store, self._history, self._info, self.clock.now(), Link.PAST)

    # -- answers --------------------------------------------------------------------------------------------

    async def send(self, call: Call[T]) -> T:
        """Answer as of then.

        Raises:
            NotFound: the daemon keeps no history of this, or nothing can be changed in the past.
            ClientError: the daemon cannot be asked.
        """
        now = self.clock.now()
        answer: Any = None
        match (call.method, call.path.removeprefix("/v1/").split("/")):
            case "GET", ["info"]:
                answer = msgspec.structs.replace(self._info, last_seq=self._history.seq_at(now))
            case "GET", ["graphs"]:
                answer = Page(items=self._history.graphs_at(now))
            case "GET", ["replicas"]:
                answer = Page(items=self._history.replicas_at(now))
            case "GET", ["events"]:
                after = int(call.query.get("after") or 0)
                answer = Page(items=[e for e in self._history.events_until(now) if e.seq > after])
            case "GET", ["gpus"]:
                answer = self._devices(now)
            case "GET", ["graphs", _, "metrics" | "logs"] | ["graphs", _, "kv", "series"]:
                answer = await self._live.send(replace(call, query=_capped(call.query, now)))
            case "GET", ["graphs", _, "metrics", "names"] | ["graphs", _, "revisions", *_]:
                answer = await self._live.send(call)
            case _:
                raise _no_history()
        return cast("T", answer)

    def _devices(self, t: float) -> list[Gpu]:
        """The devices of now with the claims of then. Use, memory and processes have no history."""
        claims = self._history.claims_at(t)
        return [
            msgspec.structs.replace(
                gpu,
                claimed=claims.get(gpu.uuid, []),
                granted=[],
                observed=[],
                conditions=[],
                memory_used_bytes=None,
                utilisation=None,
                temperature_c=None,
                power_w=None,
            )
            for gpu in self._gpus
        ]

    # -- streams --------------------------------------------------------------------------------------------

    async def follow_batches(
        self, call: StreamCall[T], *, last_event_id: str | None = None, on_connection: OnConnection | None = None
    ) -> AsyncGenerator[list[T], None]:
        """What a stream had said by then, all at once: the clock stands still until the dashboard begins anew."""
        del last_event_id
        if on_connection is not None:
            on_connection(ConnectionState(connected=True))
        yield cast("list[T]", list(await self._items(call)))
        await asyncio.Event().wait()

    async def _items(self, call: StreamCall[Any]) -> Sequence[Any]:
        now = self.clock.now()
        project = str(call.query.get("project") or calls.DEFAULT_PROJECT)
        match call.path.removeprefix("/v1/").removesuffix("/stream").split("/"):
            case ["gpus"]:
                return [self._devices(now)]
            case ["graphs", graph, "rates"]:
                return [await self._rates(GraphKey(project, graph), now)]
            case ["graphs", graph, "kv"]:
                window = cast("float | None", call.query.get("window"))
                snapshot: KvSnapshot = await self._live.send(calls.kv(graph, window=window, at=now, project=project))
                return [snapshot]
            case ["graphs", graph, "logs"]:
                return await self._lines(graph, call.query, now)
        return ()  # events: all that had happened is in the picture already

    async def _rates(self, key: GraphKey, t: float) -> list[ServiceRates]:
        """What services and replicas did in the last full step before `t`."""
        found: dict[RateKey, dict[str, float]] = {}
        since = t - 2 * RATES_STEP_S
        ways: tuple[Literal["service", "replica"], ...] = ("service", "replica")
        for by in ways:
            past = await retained_rates(self._live, key, since, t, RATES_STEP_S, by=by)
            for (rate_key, name), points in past.items():
                at, value = points[-1]
                if at > t - 1.5 * RATES_STEP_S and value is not None:
                    found.setdefault(rate_key, {})[name] = value
        return [
            ServiceRates(service=service, replica=replica, **{n: v for n, v in values.items() if n in RATE_FIELDS})
            for (service, replica), values in found.items()
        ]

    async def _lines(self, graph: str, query: Mapping[str, Any], t: float) -> list[LogLine]:
        """The last lines before `t`."""
        asked = calls.logs(graph, tail=TAIL)
        kept = {k: v for k, v in query.items() if v is not None and k != "tail"}
        tail = query.get("tail") or TAIL
        page = await self._live.send(replace(asked, query=_capped({**kept, "tail": tail}, t)))
        return page.items

    async def aclose(self) -> None:
        """The connection is its owner's."""


def _capped(query: Mapping[str, Any], t: float) -> dict[str, Any]:
    until = query.get("until")
    return {**query, "until": t if until is None else min(float(until), t)}


def _no_history() -> NotFound:
    return NotFound(
        Problem(type="no-history", title="no history", status=404, detail="the daemon keeps no history of this")
    )


async def read_past(live: Source, now: float) -> Past:
    """Read what a daemon retains, up to now.

    Raises:
        ClientError: it is away.
    """
    info = await live.send(calls.info())
    graphs = await all_pages(live, lambda after: calls.graphs(project=None, after=after, limit=PAGE))
    replicas = await all_pages(live, lambda after: calls.replicas(project=None, after=after, limit=PAGE))
    try:
        gpus = await live.send(calls.gpus())
    except ClientError:
        gpus = []  # no devices, or none that can be read: there is nothing to claim
    history = StateHistory()
    after = await _oldest_kept(live, max(0, info.last_seq - EVENTS_READ), info.last_seq)
    while after < info.last_seq:
        page = await live.send(calls.events(after=after, limit=min(PAGE, info.last_seq - after)))
        history.add(page.items)
        if not page.items:
            break
        after = page.items[-1].seq
    history.know(graphs, replicas, info.last_seq, gpus)
    start = history.events[0].at.timestamp() if history.events else now
    return Past(live, info, history, gpus, min(start, now), now)


async def _oldest_kept(live: Source, low: int, high: int) -> int:
    """The lowest number in between after which all events are still kept."""
    middle = low
    while low < high:
        try:
            await live.send(calls.events(after=middle, limit=1))
            high = middle
        except Gone:
            low = middle + 1
        middle = (low + high) // 2
    return low
