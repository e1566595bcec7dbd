"""Follows the logs of many replicas as they grow, merged by time.

A follow watches file sizes, at most every `BUSY_S` while lines come and every `QUIET_S` while none do;
nothing is read until a size changes. Nothing is buffered either: a reader that is slow finds its lines on
disk, and when it has fallen more than `MAX_BACKLOG_BYTES` behind a replica, the lines between are skipped
and counted.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from dynamod.drivers import logfile
from dynamod.observe.logs.query import LogFilter, LogSource, read_page
from dynamod.observe.logs.segments import blocks_forward, bytes_after, line_at, line_near_end, next_line, size_marks
from dynamod.schema import LogLine

BUSY_S = 0.02
QUIET_S = 0.08
SOURCES_S = 1.0
"""How often the set of replicas is asked for anew."""
MAX_BACKLOG_BYTES = 8 << 20
KEPT_BACKLOG_BYTES = 1 << 20
"""How much of a backlog that is too large is still delivered: its newest part."""
BATCH_LINES = 5000

Sources = Callable[[], Awaitable[Sequence[LogSource]]]


@dataclass(frozen=True)
class Batch:
    """Lines in order of time, and how many were skipped before them. `places` is where to resume, by replica."""

    lines: list[LogLine]
    skipped: int
    places: dict[str, int]


@dataclass
class _Tail:
    """One replica: the next line to deliver, and the segment that was last seen growing."""

    source: LogSource
    line: int
    segment: int = 0
    seen_bytes: int = -1
    pending: bool = True
    skipped: int = 0

    def grew(self) -> bool:
        """Whether there may be something to read: the size changed, or a read left something behind."""
        size, rotated = size_marks(self.source.directory, self.segment)
        if rotated:
            numbers = logfile.segments(self.source.directory)
            self.segment = numbers[-1] if numbers else 0
            size = -1
        if size != self.seen_bytes:
            self.seen_bytes = size
            self.pending = True
        return self.pending


async def follow(
    sources: Sources,
    wanted: LogFilter,
    *,
    places: dict[str, int] | None = None,
    from_start: bool = False,
    until: asyncio.Event | None = None,
) -> AsyncIterator[Batch]:
    """Batches of new lines, for ever, or until `until` is set and everything written before has been given.

    `places` continues where an earlier follow stopped (line numbers by replica, as in `Batch.places`). A
    replica that is not in it starts at its end when it was there from the beginning, and at its first line
    when it came later; `from_start` reads every replica from its first line.
    """
    tails: dict[str, _Tail] = {}
    known = dict(places or {})
    first, asked = True, 0.0
    while True:
        last_round = until is not None and until.is_set()
        if time.monotonic() - asked >= SOURCES_S or first or last_round:
            asked = time.monotonic()
            current = await sources()
            fresh = [source for source in current if source.replica not in tails]
            at_end = first and not from_start
            for tail in await asyncio.to_thread(_open, fresh, known, at_end):
                tails[tail.source.replica] = tail
            for gone in tails.keys() - {source.replica for source in current}:
                del tails[gone]
            first = False
        growing = [tail for tail in tails.values() if tail.grew()]
        if not growing:
            if last_round:
                return
            await asyncio.sleep(QUIET_S)
            continue
        lines, skipped = await asyncio.to_thread(_read, growing, wanted)
        if lines or skipped:
            yield Batch(lines, skipped, {name: tail.line for name, tail in tails.items()})
        if not any(tail.pending for tail in growing):
            await asyncio.sleep(BUSY_S)


def starting_places(
    sources: Sequence[LogSource], wanted: LogFilter, tail: int | None
) -> tuple[list[LogLine], dict[str, int]]:
    """What a follow begins with: the newest `tail` lines that match, and the places where it goes on after them.

    Without `tail` the places are those of the filter's `since`, or the ends. Does file I/O.
    """
    if not tail and wanted.since is not None:
        return [], {source.replica: line_at(source.directory, wanted.since) for source in sources}
    ends = {source.replica: next_line(source.directory) for source in sources}
    if not tail:
        return [], ends
    page = read_page(sources, wanted, limit=tail, tail=True)
    return [line for line in page.items if line.line < ends[line.replica]], ends


def _open(fresh: Sequence[LogSource], known: dict[str, int], at_end: bool) -> list[_Tail]:
    tails = []
    for source in fresh:
        numbers = logfile.segments(source.directory)
        line = known.get(source.replica, -1)
        if line < 0:
            line = next_line(source.directory) if at_end else 0
        tails.append(_Tail(source, line, segment=numbers[-1] if numbers else 0))
    return tails


def _read(tails: Sequence[_Tail], wanted: LogFilter) -> tuple[list[LogLine], int]:
    """New lines of all `tails`, merged, and how many were skipped."""
    share = max(BATCH_LINES // len(tails), 200)
    streams = []
    skipped = 0
    for tail in tails:
        _skip(tail)
        streams.append(list(_take(tail, wanted, share)))
        skipped += tail.skipped
        tail.skipped = 0
    return list(heapq.merge(*streams, key=lambda line: line.t)), skipped


def _take(tail: _Tail, wanted: LogFilter, share: int) -> Iterator[LogLine]:
    """Up to about `share` lines from where the tail stands; moves it on."""
    tail.pending = False
    looked_at = 0
    for block in blocks_forward(tail.source.directory, line=tail.line):
        end = block.first + len(block.texts)
        if end <= tail.line:
            continue
        if looked_at >= share:
            tail.pending = True
            return
        # Lines that were deleted with an old segment before they could be read are skipped lines too.
        tail.skipped += max(block.first - tail.line, 0)
        yield from (line for line in wanted.select(block, tail.source) if line.line >= tail.line)
        looked_at += end - max(tail.line, block.first)
        tail.line = end


def _skip(tail: _Tail) -> None:
    """Jump over a backlog that is too large to deliver."""
    if bytes_after(tail.source.directory, tail.line) > MAX_BACKLOG_BYTES:
        near_end = line_near_end(tail.source.directory, KEPT_BACKLOG_BYTES)
        tail.skipped += max(near_end - tail.line, 0)
        tail.line = max(near_end, tail.line)
