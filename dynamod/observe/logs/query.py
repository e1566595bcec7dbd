"""Asks for log lines: filters, merges replicas by time, and pages through the result.

The order of lines is (time, replica, line number); a cursor is a place in it, so a page can be continued
whatever was written meanwhile. A search that runs long ends its page early with a cursor instead of
keeping its reader waiting: an empty page with `next` means "nothing so far".
"""

from __future__ import annotations

import base64
import heapq
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from dynamo.sdk.spec import UNREADABLE
from dynamod.core.errors import Invalid
from dynamod.observe.logs.levels import LEVELS, at_least, level_at
from dynamod.observe.logs.segments import Block, blocks_backward, blocks_forward
from dynamod.schema import LogLine, Page

if TYPE_CHECKING:
    import regex

PAGE_BUDGET_S = 1.5
"""Seconds that one page may search while it is empty."""
FOUND_BUDGET_S = 0.15
"""Seconds that it may search on after its first line: a reader wants what there is before it wants a full page."""
LINE_BUDGET_S = 0.25
"""Seconds that the pattern may take on one line: beyond, it is refused as too expensive."""
MAX_PATTERN = 1000
_SEES_NEIGHBOURS = ("(?!", "(?<!", "\\A", "\\Z", "\\G")


@dataclass(frozen=True)
class LogSource:
    """Where one replica's log is."""

    replica: str
    service: str
    directory: str


@dataclass(frozen=True)
class LogFilter:
    """Which lines are wanted. Times are seconds since the epoch, both ends included."""

    since: float | None = None
    until: float | None = None
    pattern: regex.Pattern[str] | None = None
    levels: frozenset[str] | None = None

    def admits_block(self, block: Block) -> bool:
        """False when no line of the block can match the pattern."""
        if self.pattern is None or any(mark in self.pattern.pattern for mark in _SEES_NEIGHBOURS):
            return True
        return _search(self.pattern, block.text)

    def select(self, block: Block, source: LogSource) -> list[LogLine]:
        """The lines of the block that are wanted, in order."""
        if not self.admits_block(block):
            return []
        chosen: list[LogLine] = []
        for at, (t, text) in enumerate(zip(block.times, block.texts, strict=True)):
            if (self.since is not None and t < self.since) or (self.until is not None and t > self.until):
                continue
            if self.pattern is not None and not _search(self.pattern, text):
                continue
            level = level_at(block.texts, at)
            if self.levels is not None and level not in self.levels:
                continue
            line = block.first + at
            chosen.append(
                LogLine(t=t, replica=source.replica, service=source.service, line=line, level=level, text=text)
            )
        return chosen


def log_filter(
    *, since: float | None = None, until: float | None = None, pattern: str | None = None, level: str | None = None
) -> LogFilter:
    """A checked filter.

    Raises:
        Invalid: a pattern that does not compile, a level that does not exist, or times in the wrong order.
    """
    if since is not None and until is not None and since > until:
        raise Invalid("it is later than until", field="since")
    compiled = _compiled(pattern) if pattern else None
    levels = None
    if level:
        try:
            levels = at_least(level)
        except ValueError as error:
            raise Invalid(str(error), field="level", remedy=f"one of {', '.join(LEVELS)}") from None
    return LogFilter(since, until, compiled, levels)


def _compiled(pattern: str) -> regex.Pattern[str]:
    import regex  # most who read logs, every `serve` among them, search for nothing

    if len(pattern) > MAX_PATTERN:
        raise Invalid(f"longer than {MAX_PATTERN} characters", field="regex")
    try:
        return regex.compile(pattern, regex.MULTILINE)
    except (regex.error, RecursionError, OverflowError) as error:
        raise Invalid(f"not a regular expression: {error}", field="regex") from None


Key = tuple[float, str, int]
"""A line's place: (time, replica, line number)."""


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The last line of a page, and the direction in which to go on."""

    backward: bool
    t: float
    replica: str
    line: int

    @property
    def key(self) -> Key:
        return (self.t, self.replica, self.line)


class Deadline:
    """A moment after which a search stops at the end of its block; it can come nearer."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def shorten(self, seconds: float) -> None:
        self._at = min(self._at, time.monotonic() + seconds)

    @property
    def passed(self) -> bool:
        return time.monotonic() > self._at


def read_page(
    sources: Sequence[LogSource], wanted: LogFilter, *, limit: int, tail: bool, after: str | None = None
) -> Page[LogLine]:
    """One page, its lines in order of time. Does file I/O: run it in a thread.

    `tail`: the newest lines that match, and `next` leads to older ones. Otherwise the oldest first, and
    `next` leads to newer ones; it is None when the end has been reached.

    Raises:
        Invalid: a cursor that is not one of ours, or a pattern that takes too long.
    """
    cursor = _decode_cursor(after) if after else None
    backward = cursor.backward if cursor else tail
    if cursor is not None:
        wanted = _from_cursor(wanted, cursor)
    chosen: list[LogLine] = []
    deadline = Deadline(PAGE_BUDGET_S)
    place: Key | None = None
    for key, line in _merged(sources, wanted, backward=backward):
        if cursor is not None and (key >= cursor.key if backward else key <= cursor.key):
            continue
        place = key
        if line is None:
            if deadline.passed:
                break
            continue
        if not chosen:
            deadline.shorten(FOUND_BUDGET_S)
        chosen.append(line)
        if len(chosen) == limit:
            break
    else:
        place = None
    if backward:
        chosen.reverse()
    return Page(items=chosen, next=_encode_cursor(_Cursor(backward, *place)) if place else None)


def _merged(sources: Iterable[LogSource], wanted: LogFilter, *, backward: bool) -> Iterator[tuple[Key, LogLine | None]]:
    """The streams of all replicas in one order; the merge reads on where the search has come least far."""
    streams = [_lines(source, wanted, backward=backward) for source in sources]
    return iter(heapq.merge(*streams, key=lambda item: item[0], reverse=backward))


def _lines(source: LogSource, wanted: LogFilter, *, backward: bool) -> Iterator[tuple[Key, LogLine | None]]:
    """Matching lines of one replica with their places. None in place of a line: a block is done, searched so far."""
    if backward:
        blocks = blocks_backward(source.directory, until=wanted.until)
    else:
        blocks = blocks_forward(source.directory, since=wanted.since)
    for block in blocks:
        chosen = wanted.select(block, source)
        for line in reversed(chosen) if backward else chosen:
            yield (line.t, line.replica, line.line), line
        at = 0 if backward else len(block.times) - 1
        edge = block.times[at]
        if backward and wanted.since is not None and edge < wanted.since:
            return
        if not backward and wanted.until is not None and edge > wanted.until:
            return
        yield (edge, source.replica, block.first + at), None


def _from_cursor(wanted: LogFilter, cursor: _Cursor) -> LogFilter:
    if cursor.backward:
        until = cursor.t if wanted.until is None else min(cursor.t, wanted.until)
        return replace(wanted, until=until)
    since = cursor.t if wanted.since is None else max(cursor.t, wanted.since)
    return replace(wanted, since=since)


def _search(pattern: regex.Pattern[str], text: str) -> bool:
    try:
        return pattern.search(text, timeout=LINE_BUDGET_S, concurrent=True) is not None
    except TimeoutError:
        raise Invalid(
            f"it takes more than {LINE_BUDGET_S:g} s on one line",
            field="regex",
            remedy="avoid nested repetitions such as (a+)+",
        ) from None


def _encode_cursor(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _decode_cursor(text: str) -> _Cursor:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(raw, type=_Cursor)
    except (ValueError, *UNREADABLE):
        raise Invalid("not a cursor of this list", field="after", remedy="pass `next` of a page as it was") from None
