"""Log lines in memory: bounded, numbered, cheap to append to and to read anywhere.

The newest `limit` lines are held, in chunks; the daemon keeps the rest. Numbers are absolute: a line
keeps its number however many follow, and older lines fetched later count down below the first.
Lines may come as JSON: they are decoded when they are read, for most of them never are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence

import msgspec

from dynamod.schema import LogGap, LogLine

CHUNK = 512
LINES_HELD = 60_000

Entry = LogLine | LogGap
Held = Entry | bytes
"""`bytes` is a `LogLine` in JSON."""

_decoder = msgspec.json.Decoder(LogLine)


def read_entry(held: Held) -> Entry:
    if not isinstance(held, bytes):
        return held
    try:
        return _decoder.decode(held)
    except msgspec.DecodeError:
        text = f"a line that cannot be read: {held.decode('utf-8', 'replace')}"
        return LogLine(t=0.0, replica="", service="", line=-1, level="error", text=text)


def unseen(batch: Sequence[Held], seen: Collection[tuple[str, int]]) -> list[Held]:
    """A batch without the lines that are held already."""
    read = ((held, read_entry(held)) for held in batch)
    return [held for held, entry in read if not (isinstance(entry, LogLine) and (entry.replica, entry.line) in seen)]


def begins_after(batch: Sequence[Held], t: float) -> bool:
    """Whether the first line of a batch was written after `t`."""
    first = next((e for held in batch if isinstance(e := read_entry(held), LogLine)), None)
    return first is not None and first.t > t


def is_error(entry: Entry) -> bool:
    return isinstance(entry, LogLine) and entry.level.lower() in ("error", "critical", "fatal")


class LineBuffer:
    def __init__(self, limit: int = LINES_HELD) -> None:
        self.limit = max(limit, CHUNK)
        self.received = 0
        self.skipped = 0
        self._chunks: deque[list[Held]] = deque()
        self._starts: deque[int] = deque()  # the number of each chunk's first line
        self._end = 0

    @property
    def first(self) -> int:
        """The number of the oldest line held."""
        return self._starts[0] if self._starts else self._end

    @property
    def end(self) -> int:
        """One past the number of the newest line."""
        return self._end

    def __len__(self) -> int:
        return self._end - self.first

    def __getitem__(self, number: int) -> Entry:
        """The line of that number.

        Raises:
            IndexError: it is not held, or not written yet.
        """
        if not self.first <= number < self._end:
            raise IndexError(number)
        # All chunks but the oldest and the newest are full, so that the guess is off by one at most.
        guess = min(len(self._chunks) - 1, max(0, (number - self._starts[0]) // CHUNK))
        while self._starts[guess] > number:
            guess -= 1
        while guess + 1 < len(self._starts) and self._starts[guess + 1] <= number:
            guess += 1
        return read_entry(self._chunks[guess][number - self._starts[guess]])

    def extend(self, entries: Sequence[Held]) -> None:
        self.skipped += sum(entry.skipped for entry in entries if isinstance(entry, LogGap))
        begin = 0
        while begin < len(entries):
            if not self._chunks or len(self._chunks[-1]) >= CHUNK:
                self._chunks.append([])
                self._starts.append(self._end)
            newest = self._chunks[-1]
            added = entries[begin : begin + CHUNK - len(newest)]
            newest += added
            begin += len(added)
            self._end += len(added)
        self.received += len(entries)
        while len(self) - len(self._chunks[0] if self._chunks else ()) >= self.limit:
            self._chunks.popleft()
            self._starts.popleft()

    def prepend(self, entries: Sequence[Entry]) -> None:
        """Put older lines in front. They count against the limit only when newer ones arrive."""
        if entries:
            self._starts.appendleft(self.first - len(entries))
            self._chunks.appendleft(list(entries))

    def clear(self) -> None:
        self._chunks.clear()
        self._starts.clear()
        self.skipped = 0

    def numbered(self, start: int, step: int = 1) -> Iterator[tuple[int, Entry]]:
        """Lines from number `start` on, forwards or (step -1) backwards."""
        number = min(max(start, self.first), self._end - 1)
        while self.first <= number < self._end:
            yield number, self[number]
            number += step
