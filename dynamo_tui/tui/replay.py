"""A recording that answers like a daemon, at the time that its clock shows.

The clock runs at the speed of life from the beginning; it can be stopped and set. Setting it makes the dashboard
load its picture anew, as it was then.
"""

from __future__ import annotations

import asyncio
import re
import time
from bisect import bisect_right
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, TypeVar, cast

import msgspec

from dynamo_tui.client.contexts import Context
from dynamo_tui.client.errors import NotFound
from dynamo_tui.client.exchange import Call, StreamCall
from dynamo_tui.client.recording import Entry, Recording
from dynamo_tui.client.resume import ConnectionState, OnConnection
from dynamo_tui.tui.store import GraphKey, Store
from dynamod.schema import DaemonInfo, KvSnapshot, LogLine, Page, Problem, Series

T = TypeVar("T")

_STREAMS: dict[str, tuple[str, ...]] = {
    "events": ("event",),
    "rates": ("rates",),
    "kv": ("kv", "decision"),
    "logs": ("line", "gap"),
    "gpus": ("gpus",),
}


class Replay:
    """A Source over a recording."""

    def __init__(self, recording: Recording, name: str) -> None:
        self.recording = recording
        self.context = Context(name=name, socket="", project=recording.header.project)
        self.playing = True
        self._moved = asyncio.Event()
        self._place = recording.start
        self._set_at = time.monotonic()
        self._by_kind: dict[str, list[Entry]] = {}
        for entry in recording.entries:
            self._by_kind.setdefault(entry.kind, []).append(entry)

    # -- the clock ------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The time that is shown, seconds since the epoch."""
        run = time.monotonic() - self._set_at if self.playing else 0.0
        return min(self.recording.end, self._place + run)

    def set(self, t: float) -> None:
        """Set the clock, within the recording."""
        self._place = min(max(t, self.recording.start), self.recording.end)
        self._set_at = time.monotonic()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def pause(self, on: bool) -> None:
        here = self.now()
        self.playing = not on
        self.set(here)

    @property
    def place(self) -> str:
        """Where the clock stands, e.g. `1:05 of 3:20`."""

        def clock(seconds: float) -> str:
            return f"{int(seconds) // 60}:{int(seconds) % 60:02}"

        start = self.recording.start
        return f"{clock(self.now() - start)} of {clock(self.recording.end - start)}"

    # -- answers --------------------------------------------------------------------------------------------

    def _until_now(self, kind: str) -> list[Entry]:
        entries = self._by_kind.get(kind, [])
        return entries[: bisect_right(entries, self.now(), key=lambda e: e.t)]

    def _picture(self) -> Store:
        """Graphs and replicas as they were: the first ones, and every event since."""
        store = Store()
        first = [e.data for kind in ("graph", "replica") for e in self._by_kind.get(kind, [])]
        info: DaemonInfo = self._by_kind["info"][0].data
        graphs = [x for x in first if hasattr(x, "entry")]
        replicas = [x for x in first if not hasattr(x, "entry")]
        store.set_snapshot(info, graphs, replicas, info.last_seq)
        for entry in self._until_now("event"):
            store.apply(entry.data)
        return store

    def fill(self, store: Store) -> None:
        """Give a picture the figures that came before: sparklines and charts begin with them."""
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
                    return msgspec.structs.replace(self._by_kind["info"][0].data, last_seq=self._picture().seq)
                case ["graphs"]:
                    return Page(items=list(self._picture().graphs.values()))
                case ["replicas"]:
                    return Page(items=[r for held in self._picture().replicas.values() for r in held.values()])
                case ["events"]:
                    after = int(call.query.get("after") or 0)
                    return Page(items=[e.data for e in self._until_now("event") if e.data.seq > after])
                case ["graphs", _, "logs"]:
                    return Page(items=self._lines(call.query)[-int(call.query.get("tail") or 100) :])
                case ["graphs", _, "kv", "series"]:
                    return self._kv_series(cast("str | None", call.query.get("worker")))
        raise NotFound(
            Problem(
                type="not-recorded", title="not in the recording", status=404, detail="a recording does not hold this"
            )
        )

    def _lines(self, query: Any) -> list[LogLine]:
        until = float(query.get("until") or "inf")
        return [e.data for e in self._until_now("line") if e.data.t <= until and _kept(e.data, query)]

    def _kv_series(self, worker: str | None) -> list[Series]:
        predicted: list[tuple[float, float | None]] = []
        actual: list[tuple[float, float | None]] = []
        for entry in self._until_now("kv"):
            snapshot: KvSnapshot = entry.data
            found = snapshot if worker is None else next((w for w in snapshot.workers if w.worker == worker), None)
            if found is not None:
                predicted.append((snapshot.t, found.predicted.ratio_of_sums))
                actual.append((snapshot.t, found.actual.ratio_of_sums))
        labels = {"worker": worker} if worker else {}
        return [
            Series(name="hit_rate_predicted", labels=labels, points=predicted),
            Series(name="hit_rate_actual", labels=labels, points=actual),
        ]

    # -- streams --------------------------------------------------------------------------------------------

    async def follow(
        self, call: StreamCall[T], *, last_event_id: str | None = None, on_connection: OnConnection | None = None
    ) -> AsyncGenerator[T, None]:
        """Items as their time comes; a stream of states begins with the newest one."""
        del last_event_id
        if on_connection is not None:
            on_connection(ConnectionState(connected=True))
        parts = call.path.removesuffix("/stream").split("/")
        kinds = _STREAMS[parts[-1]]
        begin = self.now()
        for item in self._first_items(parts[-1], call):
            yield cast("T", item)
        entries = sorted((e for kind in kinds for e in self._by_kind.get(kind, [])), key=lambda e: e.t)
        for entry in entries[bisect_right(entries, begin, key=lambda e: e.t) :]:
            await self._reach(entry.t)
            if not isinstance(entry.data, LogLine) or _kept(entry.data, call.query):
                yield cast("T", entry.data)
        await asyncio.Event().wait()

    def _first_items(self, name: str, call: StreamCall[Any]) -> list[Any]:
        if name == "logs":
            since = float(call.query.get("since") or 0.0)
            lines = [line for line in self._lines(call.query) if line.t >= since]
            tail = call.query.get("tail")
            return lines[-int(tail) :] if tail else lines
        if name == "events":
            after = int(call.query.get("after") or 0)
            return [e.data for e in self._until_now("event") if e.data.seq > after]
        return [e.data for e in self._until_now(_STREAMS[name][0])[-1:]]

    async def _reach(self, t: float) -> None:
        """Wait until the clock shows `t`."""
        while (left := t - self.now()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), left if self.playing else None)

    async def aclose(self) -> None:
        """Nothing is open."""


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
