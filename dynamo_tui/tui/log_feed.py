"""Log lines of a selection: any graphs, services and replicas together, followed and merged by time.

The daemon merges one graph's, one service's or one replica's lines; several of them are merged here. A line that
arrives later than lines of its time from elsewhere stands after them: what has been shown does not move.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import NamedTuple

from dynamo_tui.client import calls, streams
from dynamo_tui.client.errors import ApiError
from dynamo_tui.client.exchange import Call
from dynamo_tui.tui import figures
from dynamo_tui.tui.line_buffer import Held, LineBuffer, begins_after, read_entry, unseen
from dynamo_tui.tui.source import Source
from dynamo_tui.tui.store import GraphKey
from dynamod.schema import LogLine, Page

TAIL = 1_000
TAIL_OF_RANGE = 10_000
"""The newest lines of a range of time; older ones of it are fetched when they are wanted."""
OLDER = 1_000
MERGE_S = 0.2
"""How long lines of several parts are gathered before they are put in order."""
SKEW_S = 1.0
"""So much of the time before the last line held is asked for again where several parts were merged."""
RESUMED_S = 1.0
"""A log that has gone on for so long since the last line held does not bring that one again."""


class LogPart(NamedTuple):
    """Whose lines: a graph's, one service's of it, or one replica's."""

    key: GraphKey
    service: str | None = None
    replica: str | None = None


@dataclass(frozen=True)
class LogQuery:
    """Which lines: from a level on, with a match of an expression, between two times (seconds since the epoch)."""

    level: str = ""
    regex: str = ""
    since: float | None = None
    until: float | None = None

    @property
    def range_text(self) -> str:
        """The range of times as it is typed; empty for all times."""
        since = figures.clock(self.since) if self.since is not None else ""
        return f"{since}..{figures.clock(self.until)}" if self.until is not None else since

    def with_range(self, text: str, present: float) -> LogQuery:
        """The same within `SINCE`, `SINCE..UNTIL` or `..UNTIL`: times of day, or `10m` ago; nothing for all times.

        Raises:
            ValueError: one of them is no time, or they are in the wrong order.
        """
        since, until = (self._moment(part.strip(), present) for part in text.partition("..")[::2])
        if since is not None and until is not None and since > until:
            raise ValueError(f"{text!r} ends before it begins")
        return replace(self, since=since, until=until)

    @staticmethod
    def _moment(text: str, present: float) -> float | None:
        moment = figures.parse_moment(text, present) if text else None
        if text and moment is None:
            raise ValueError(f"{text!r} is neither a time of day nor 90s, 10m or 2h ago")
        return moment


def without_overlap(parts: Sequence[LogPart]) -> tuple[LogPart, ...]:
    """The parts without those that another one holds: no line comes twice."""
    whole = {part.key for part in parts if part.service is None and part.replica is None}
    services = {(part.key, part.service) for part in parts if part.replica is None}
    return tuple(
        dict.fromkeys(
            part
            for part in parts
            if (part.key not in whole or (part.service, part.replica) == (None, None))
            and (part.replica is None or (part.key, part.service) not in services)
        )
    )


class LogFeed:
    """Fills a buffer with the lines of `parts` that `query` asks for."""

    def __init__(self, parts: Sequence[LogPart], buffer: LineBuffer) -> None:
        self.parts = tuple(parts)
        self.query = LogQuery()
        self.buffer = buffer
        self._older_turn = asyncio.Lock()  # two at once would fetch the same lines

    # -- following ------------------------------------------------------------------------------------------

    async def follow(self, client: Source, told: Callable[[], None]) -> None:
        """The last lines, then every new one; after a pause, from the last line that is held. `told` after each batch.

        Raises:
            ApiError: the daemon refuses; what else is selected is not followed then either.
            ClientError: it does not answer, and nothing is held yet. Later on it is waited for.
        """
        if len(self.parts) > 1 and self._newest is None:
            self.buffer.extend(await self._newest_of_all(client, self.query.until, TAIL))
            told()
        last = self._newest
        again = SKEW_S if len(self.parts) > 1 else 0.0
        since = last.t - again if last else self.query.since
        seen = self._lines_since(last.t - again) if last else set()
        if len(self.parts) > 1:
            await self._follow_several(client, since, seen, told)
            return
        async for batch in self._batches(client, self.parts[0], since, resumed=last is not None):
            self.buffer.extend(unseen(batch, seen) if seen else batch)
            if last and seen and begins_after(batch, last.t + RESUMED_S):
                seen.clear()
            told()

    async def _follow_several(
        self, client: Source, since: float | None, seen: set[tuple[str, int]], told: Callable[[], None]
    ) -> None:
        gathered: list[tuple[float, Held]] = []
        resumed = bool(seen)

        async def gather(part: LogPart) -> None:
            t = 0.0
            async for batch in self._batches(client, part, since, resumed=resumed):
                for held in batch:
                    entry = read_entry(held)
                    if isinstance(entry, LogLine):
                        if (entry.replica, entry.line) in seen:
                            continue
                        t = entry.t
                    gathered.append((t, entry))  # what was left out, stands where it was

        async def merge() -> None:
            while True:
                await asyncio.sleep(MERGE_S)
                if gathered:
                    gathered.sort(key=lambda item: item[0])
                    self.buffer.extend([held for _, held in gathered])
                    gathered.clear()
                    told()

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(merge())
                for part in self.parts:
                    tasks.create_task(gather(part))
        except* ApiError as errors:
            raise _leaves(errors)[0] from None

    async def _batches(
        self, client: Source, part: LogPart, since: float | None, *, resumed: bool
    ) -> AsyncIterator[Sequence[Held]]:
        tail = TAIL if since is None else TAIL_OF_RANGE
        call = streams.logs(
            part.key.name,
            project=part.key.project,
            service=part.service,
            replica=part.replica,
            tail=None if resumed else tail,
            since=since,
            until=self.query.until,
            regex=self.query.regex or None,
            level=self.query.level or None,
        )
        async with aclosing(client.follow_batches(streams.lines_as_sent(call))) as batches:
            async for batch in batches:
                yield batch

    @property
    def _newest(self) -> LogLine | None:
        return next((e for _, e in self.buffer.numbered(self.buffer.end - 1, -1) if isinstance(e, LogLine)), None)

    def _lines_since(self, t: float) -> set[tuple[str, int]]:
        """The lines held from `t` on: they come again when the feed resumes there."""
        found = set()
        for _, entry in self.buffer.numbered(self.buffer.end - 1, -1):
            if isinstance(entry, LogLine):
                if entry.t < t:
                    break
                found.add((entry.replica, entry.line))
        return found

    # -- the past -------------------------------------------------------------------------------------------

    @property
    def oldest(self) -> LogLine | None:
        """The oldest line held."""
        return next((e for _, e in self.buffer.numbered(self.buffer.first) if isinstance(e, LogLine)), None)

    async def older(self, client: Source) -> bool:
        """Fetch the lines before the oldest that is held; False where there are none.

        Raises:
            ClientError: they cannot be had.
        """
        async with self._older_turn:
            oldest = self.oldest
            if oldest is None:
                return False
            held = {(e.replica, e.line) for e in _while(self.buffer, lambda line: line.t <= oldest.t)}
            found = await self._newest_of_all(client, oldest.t, OLDER)
            older = [line for line in found if (line.replica, line.line) not in held]
            self.buffer.prepend(older)
            return bool(older)

    async def _newest_of_all(self, client: Source, until: float | None, tail: int) -> list[LogLine]:
        """The newest lines of all parts up to a time, merged; as far back as they are complete."""
        asked = [self._page(part, until=until, since=self.query.since, tail=tail) for part in self.parts]
        pages = await asyncio.gather(*(client.send(call) for call in asked))
        # A part whose page is full has more before it: what others have from before that comes with the next one.
        complete = max((page.items[0].t for page in pages if len(page.items) >= tail), default=float("-inf"))
        lines = [line for page in pages for line in page.items if line.t >= complete]
        if len(pages) > 1:
            lines.sort(key=lambda line: line.t)
        return lines

    async def first_error(self, client: Source, since: float) -> LogLine | None:
        """The first error that was written from then on.

        Raises:
            ClientError: it cannot be asked for.
        """
        asked = [self._page(part, since=since, until=self.query.until, level="error", limit=1) for part in self.parts]
        pages = await asyncio.gather(*(client.send(call) for call in asked))
        return min((line for page in pages for line in page.items), key=lambda line: line.t, default=None)

    def _page(
        self,
        part: LogPart,
        *,
        since: float | None,
        until: float | None,
        tail: int | None = None,
        limit: int | None = None,
        level: str = "",
    ) -> Call[Page[LogLine]]:
        return calls.logs(
            part.key.name,
            project=part.key.project,
            service=part.service,
            replica=part.replica,
            since=since,
            until=until,
            tail=tail,
            limit=limit,
            regex=self.query.regex or None,
            level=level or self.query.level or None,
        )


def _while(buffer: LineBuffer, holds: Callable[[LogLine], bool]) -> list[LogLine]:
    """Lines from the oldest on, as long as it holds."""
    found = []
    for _, entry in buffer.numbered(buffer.first):
        if isinstance(entry, LogLine):
            if not holds(entry):
                break
            found.append(entry)
    return found


def _leaves(group: BaseExceptionGroup[ApiError]) -> list[ApiError]:
    found: list[ApiError] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
