"""A recording that answers like a daemon, at the time that its clock shows.

The clock runs at the speed of life from the beginning. Setting it makes the dashboard load its picture anew, as it
was then.
"""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from typing import Any, TypeVar, cast

import msgspec

from dynamo_tui.client.contexts import Context
from dynamo_tui.client.errors import NotFound
from dynamo_tui.client.exchange import Call, StreamCall
from dynamo_tui.client.recording import Entry, Recording
from dynamo_tui.client.resume import ConnectionState, OnConnection
from dynamo_tui.tui.clock import Clock
from dynamo_tui.tui.source import FollowsBatches
from dynamo_tui.tui.state_history import StateHistory, show_picture, troubles
from dynamo_tui.tui.store import GraphKey, Link, Store
from dynamod.schema import DaemonInfo, Event, KvSnapshot, KvWorker, LogLine, Page, Problem, Series

T = TypeVar("T")

_STREAMS: dict[str, tuple[str, ...]] = {
    "events": ("event",),
    "rates": ("rates",),
    "kv": ("kv", "decision"),
    "logs": ("line", "gap"),
    "gpus": ("gpus",),
}


class Replay(FollowsBatches):
    """A TimedSource over a recording."""

    def __init__(self, recording: Recording, name: str) -> None:
        self.recording = recording
        self.context = Context(name=name, socket="", project=recording.header.project)
        self.clock = Clock(recording.start, recording.end, at=recording.start, playing=True)
        self._by_kind: dict[str, list[Entry]] = {}
        for entry in recording.entries:
            self._by_kind.setdefault(entry.kind, []).append(entry)
        self._info: DaemonInfo = self._by_kind["info"][0].data
        graphs, replicas, events = ([e.data for e in self._by_kind.get(k, [])] for k in ("graph", "replica", "event"))
        events.sort(key=lambda e: e.seq)
        begun = bisect_right(events, self._info.last_seq, key=lambda e: e.seq)
        self._history = StateHistory()
        self._history.add(events[:begun])
        self._history.know(graphs, replicas, self._info.last_seq)
        self._history.add(events[begun:])
        self.troubles = troubles(events)
        self.notice = ""

    # -- answers --------------------------------------------------------------------------------------------

    def _until_now(self, kind: str) -> list[Entry]:
        entries = self._by_kind.get(kind, [])
        return entries[: bisect_right(entries, self.clock.now(), key=lambda e: e.t)]

    def fill(self, store: Store) -> None:
        """The picture, and the figures that came before: sparklines and charts begin with them."""
        show_picture(store, self._history, self._info, self.clock.now(), Link.REPLAY)
        key = GraphKey(self.recording.header.project, self.recording.header.graph)
        for entry in self._until_now("rates"):
            store.apply_rates(key, entry.data, entry.t)

    async def send(self, call: Call[T]) -> T:
        """Answer from what was recorded.

        Raises:
            NotFound: it was not.
        """
        return cast("T", self._answer(call))

    def _answer(self, call: Call[Any]) -> Any:
        if call.method == "GET":
            match call.path.removeprefix("/v1/").split("/"):
                case ["info"]:
                    return msgspec.structs.replace(self._info, last_seq=self._history.seq_at(self.clock.now()))
                case ["graphs"]:
                    return Page(items=self._history.graphs_at(self.clock.now()))
                case ["replicas"]:
                    return Page(items=self._history.replicas_at(self.clock.now()))
                case ["events"]:
                    return Page(items=self._events(call.query))
                case ["graphs", _, "logs"]:
                    return Page(items=self._lines(call.query)[-int(call.query.get("tail") or 100) :])
                case ["graphs", _, "kv", "series"]:
                    return self._kv_history(by_worker=call.query.get("by") == "worker")
        raise NotFound(
            Problem(
                type="not-recorded", title="not in the recording", status=404, detail="a recording does not hold this"
            )
        )

    def _events(self, query: Any) -> list[Event]:
        after = int(query.get("after") or 0)
        return [e for e in self._history.events_until(self.clock.now()) if e.seq > after]

    def _lines(self, query: Any) -> list[LogLine]:
        until = float(query.get("until") or "inf")
        return [e.data for e in self._until_now("line") if e.data.t <= until and _kept(e.data, query)]

    def _kv_history(self, *, by_worker: bool) -> list[Series]:
        """Hit rates up to now, of all workers together or of each."""
        snapshots: list[KvSnapshot] = [e.data for e in self._until_now("kv")]
        if not by_worker:
            return _hit_rates({}, [(s.t, s) for s in snapshots])
        of_worker: dict[str, list[tuple[float, KvSnapshot | KvWorker]]] = {}
        for snapshot in snapshots:
            for worker in snapshot.workers:
                of_worker.setdefault(worker.worker, []).append((snapshot.t, worker))
        return [one for name, found in of_worker.items() for one in _hit_rates({"worker": name}, found)]

    # -- streams --------------------------------------------------------------------------------------------

    async def follow_batches(
        self, call: StreamCall[T], *, last_event_id: str | None = None, on_connection: OnConnection | None = None
    ) -> AsyncGenerator[list[T], None]:
        """Items as their time comes, what was there already at once; a stream of states begins with the newest one."""
        del last_event_id
        if on_connection is not None:
            on_connection(ConnectionState(connected=True))
        parts = call.path.removesuffix("/stream").split("/")
        kinds = _STREAMS[parts[-1]]
        begin = self.clock.now()
        yield cast("list[T]", self._first_items(parts[-1], call))
        entries = sorted((e for kind in kinds for e in self._by_kind.get(kind, [])), key=lambda e: e.t)
        for entry in entries[bisect_right(entries, begin, key=lambda e: e.t) :]:
            await self.clock.reach(entry.t)
            if not isinstance(entry.data, LogLine) or _kept(entry.data, call.query):
                yield [cast("T", entry.data)]
        await asyncio.Event().wait()

    def _first_items(self, name: str, call: StreamCall[Any]) -> list[Any]:
        if name == "logs":
            since = float(call.query.get("since") or 0.0)
            lines = [line for line in self._lines(call.query) if line.t >= since]
            tail = call.query.get("tail")
            return lines[-int(tail) :] if tail else lines
        if name == "events":
            return self._events(call.query)
        return [e.data for e in self._until_now(_STREAMS[name][0])[-1:]]

    async def aclose(self) -> None:
        """Nothing is open."""


def _hit_rates(labels: dict[str, str], found: Sequence[tuple[float, KvSnapshot | KvWorker]]) -> list[Series]:
    predicted: list[tuple[float, float | None]] = [(t, one.predicted.ratio_of_sums) for t, one in found]
    actual: list[tuple[float, float | None]] = [(t, one.actual.ratio_of_sums) for t, one in found]
    return [
        Series(name="hit_rate_predicted", labels=labels, points=predicted),
        Series(name="hit_rate_actual", labels=labels, points=actual),
    ]


def _kept(line: LogLine, query: Any) -> bool:
    """Whether a line passes the service, replica, level and expression that a call names."""
    wanted, regex = query.get("level"), query.get("regex")
    return (
        (not query.get("service") or line.service == query["service"])
        and (not query.get("replica") or line.replica == query["replica"])
        and (not wanted or _RANK.get(line.level.lower(), 2) >= _RANK.get(str(wanted), 0))
        and (not regex or re.search(str(regex), line.text) is not None)
    )


_RANK = {"trace": 0, "debug": 1, "info": 2, "warning": 3, "warn": 3, "error": 4, "critical": 5, "fatal": 5}
