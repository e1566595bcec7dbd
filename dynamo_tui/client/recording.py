"""One graph's life in one file: what the API said, and when.

Written by `dynamoctl record`, read by `dynamo-tui --replay`.
JSON lines, gzipped when the name ends in `.gz`. The first is a header; every other one is `[t, kind, data]`: seconds
since the epoch, one of `KINDS`, and the API's own object. What was retained before the recording began comes first.
"""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from dynamo.sdk.spec import UNREADABLE
from dynamo_tui.client import calls, streams
from dynamo_tui.client.aio import AsyncClient
from dynamo_tui.client.errors import ClientError, NotFound
from dynamo_tui.client.exchange import StreamCall
from dynamod.schema import (
    DaemonInfo,
    Event,
    Gpu,
    Graph,
    KvDecision,
    KvSnapshot,
    LogGap,
    LogLine,
    Replica,
    ServiceRates,
)

FORMAT = "dynamod-recording"
VERSION = 1
KINDS: dict[str, Any] = {
    "info": DaemonInfo,
    "graph": Graph,
    "replica": Replica,
    "event": Event,
    "rates": list[ServiceRates],
    "kv": KvSnapshot,
    "decision": KvDecision,
    "line": LogLine,
    "gap": LogGap,
    "gpus": list[Gpu],
}
PAST_LINES = 2_000
PAST_EVENTS = 1_000


class RecordingError(ClientError):
    """A file that is no recording, or one of a newer version."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    format: str = FORMAT
    version: int = VERSION
    project: str
    graph: str
    started: float


@dataclass(frozen=True)
class Entry:
    t: float
    kind: str
    data: Any


@dataclass
class Recording:
    """A whole recording in memory, in order of time."""

    header: Header
    entries: list[Entry] = field(default_factory=list)

    @property
    def start(self) -> float:
        return self.header.started

    @property
    def end(self) -> float:
        return max((e.t for e in self.entries), default=self.header.started)


def _open(path: Path, mode: str) -> IO[bytes]:
    return gzip.open(path, mode) if path.suffix == ".gz" else path.open(mode)  # type: ignore[return-value]


def read_recording(path: Path) -> Recording:
    """Read a file.

    Raises:
        RecordingError: it cannot be read, or is no recording that this program understands.
    """
    try:
        with _open(path, "rb") as stream:
            header = msgspec.json.decode(stream.readline(), type=Header)
            if header.format != FORMAT or header.version > VERSION:
                raise RecordingError(
                    f"{path}: {header.format} version {header.version}", remedy=f"this program reads version {VERSION}"
                )
            return Recording(header, sorted(_entries(stream), key=lambda e: e.t))
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror or error}") from None
    except (*UNREADABLE, EOFError, zlib.error) as error:
        raise RecordingError(
            f"{path} is not a recording: {error}", remedy="make one: dynamoctl record GRAPH -o FILE"
        ) from None


def _entries(stream: IO[bytes]) -> Iterator[Entry]:
    for line in stream:
        t, kind, data = msgspec.json.decode(line, type=tuple[float, str, msgspec.Raw])
        if kind in KINDS:  # a newer program may have written kinds that this one does not know
            yield Entry(t, kind, msgspec.json.decode(data, type=KINDS[kind]))


class Recorder:
    """Writes what one graph does until it is cancelled."""

    def __init__(self, client: AsyncClient, graph: str, project: str, path: Path) -> None:
        self.client = client
        self.graph = graph
        self.project = project
        self.path = path
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Record: the retained past at once, then everything as it happens.

        Raises:
            ClientError: the daemon is away, or has no such graph.
            OSError: the file cannot be written.
        """
        with _open(self.path, "wb") as stream:
            header = Header(project=self.project, graph=self.graph, started=time.time())
            stream.write(msgspec.json.encode(header) + b"\n")

            def write(t: float, kind: str, data: Any) -> None:
                stream.write(msgspec.json.encode((t, kind, data)) + b"\n")
                self.counts[kind] += 1

            seq = await self._past(write)
            try:
                async with asyncio.TaskGroup() as group:
                    for feed in self._feeds(seq, write):
                        group.create_task(feed)
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None

    async def _past(self, write: Callable[[float, str, Any], None]) -> int:
        now = time.time()
        info = await self.client.send(calls.info())
        write(now, "info", info)
        write(now, "graph", await self.client.send(calls.graph(self.graph, project=self.project)))
        replicas = await self.client.send(calls.replicas(graph=self.graph, project=self.project, limit=1_000))
        for replica in replicas.items:
            write(now, "replica", replica)
        events = await self.client.send(
            calls.events(
                after=max(0, info.last_seq - PAST_EVENTS), limit=PAST_EVENTS, project=self.project, graph=self.graph
            )
        )
        for event in events.items:
            if event.seq <= info.last_seq:
                write(event.at.timestamp(), "event", event)
        lines = await self.client.send(calls.logs(self.graph, tail=PAST_LINES, project=self.project))
        for line in lines.items:
            write(line.t, "line", line)
        return info.last_seq

    def _feeds(self, seq: int, write: Callable[[float, str, Any], None]) -> Iterator[Any]:
        graph, project = self.graph, self.project
        yield self._follow(
            streams.events(after=seq, project=project, graph=graph), lambda e: write(e.at.timestamp(), "event", e)
        )
        yield self._follow(streams.rates(graph, project=project), lambda r: write(time.time(), "rates", r))
        yield self._follow(streams.gpus(), lambda g: write(time.time(), "gpus", g))
        yield self._follow(
            streams.kv(graph, project=project),
            lambda k: write(k.t, "kv" if isinstance(k, KvSnapshot) else "decision", k),
        )
        yield self._follow(
            streams.logs(graph, project=project, since=time.time()),
            lambda x: write(time.time(), "gap", x) if isinstance(x, LogGap) else write(x.t, "line", x),
        )

    async def _follow(self, call: StreamCall[Any], note: Callable[[Any], None]) -> None:
        try:
            async with aclosing(self.client.follow(call)) as items:
                async for item in items:
                    note(item)
        except NotFound:
            return  # this graph has no such feed (no KV router, no GPUs)


async def entries_of(recorder: Recorder, seconds: float | None) -> AsyncIterator[int]:
    """Record for so long, or until cancelled; yields the number of entries twice a second."""
    task = asyncio.ensure_future(recorder.run())
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while not task.done() and (end is None or time.monotonic() < end):
            await asyncio.wait({task}, timeout=0.5)
            yield recorder.counts.total()
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
