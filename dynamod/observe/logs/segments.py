"""Reads one replica's log directory in blocks of whole lines, in either direction.

The format is that of `dynamod.drivers.logfile`. Indices are mapped, not loaded: a tail touches only their
last pages. Every function here does file I/O and runs in a thread, except where it says otherwise.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import overload

from dynamod.drivers import logfile
from dynamod.drivers.logfile import IndexRecord

BLOCK_BYTES = 256 * 1024
"""About how much is read at once; a block ends where an index record begins."""


class Block:
    """Lines that stand one after another. Line `first + i` was read at `times[i]` and is `texts[i]`.

    `text` is all of it, unsplit: a search that finds nothing there need not look at the lines.
    """

    def __init__(self, records: Sequence[IndexRecord], text: str) -> None:
        self._records = records
        self.first = records[0][2]
        self.text = text

    @cached_property
    def texts(self) -> list[str]:
        return [text.removesuffix("\r") for text in self.text.split("\n")[:-1]]

    @cached_property
    def times(self) -> list[float]:
        """The time of each line: that of the last record at or before it. From a damaged index, some time."""
        times: list[float] = []
        count = len(self.texts)
        for at, (time, _, _) in enumerate(self._records):
            following = self._records[at + 1][2] - self.first if at + 1 < len(self._records) else count
            times.extend([time] * max(min(following, count) - len(times), 0))
        return times


class IndexView(Sequence[IndexRecord]):
    """The records of one index file, unpacked one by one as they are asked for."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data = data
        self._length = len(data) // logfile.RECORD_BYTES

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, at: int) -> IndexRecord: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[IndexRecord]: ...
    def __getitem__(self, at: int | slice) -> IndexRecord | Sequence[IndexRecord]:
        if isinstance(at, slice):
            start, stop, _ = at.indices(self._length)
            return logfile.unpack(self._data[start * logfile.RECORD_BYTES : stop * logfile.RECORD_BYTES])
        if at < 0:
            at += self._length
        if not 0 <= at < self._length:
            raise IndexError(at)
        return logfile.unpack(self._data[at * logfile.RECORD_BYTES : (at + 1) * logfile.RECORD_BYTES])[0]


@contextmanager
def open_index(directory: str, number: int) -> Iterator[IndexView]:
    """The index of a segment; an empty one when it is gone or has no record yet."""
    try:
        descriptor = os.open(f"{directory}/{logfile.index_name(number)}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield IndexView(b"")
        return
    try:
        size = os.fstat(descriptor).st_size
        if size < logfile.RECORD_BYTES:
            yield IndexView(b"")
            return
        with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as data:
            yield IndexView(data)
    finally:
        os.close(descriptor)


def blocks_backward(directory: str, *, until: float | None = None) -> Iterator[Block]:
    """Blocks from the newest to the oldest (lines inside in order), of lines read at or before `until`.

    The first block may hold lines after `until`; the caller drops them.
    """
    for number in reversed(logfile.segments(directory)):
        with open_index(directory, number) as index:
            if not len(index) or (until is not None and index[0][0] > until):
                continue
            last = len(index)
            end: int | None = None
            if until is not None:
                last = bisect_right(index, until, key=lambda record: record[0])
                end = index[last][1] if last < len(index) else None
            while last > 0:
                start = _record_before(index, last, end)
                block, end = _read(directory, number, index[start:last], end)
                if block is not None:
                    yield block
                last = start


def blocks_forward(directory: str, *, since: float | None = None, line: int = 0) -> Iterator[Block]:
    """Blocks from the oldest to the newest, beginning before the first line that is wanted.

    `since` skips what was certainly read before that time; `line` skips lines with smaller numbers. The
    first block may hold lines before either; the caller drops them.
    """
    numbers = logfile.segments(directory)
    for position, number in enumerate(numbers):
        if position + 1 < len(numbers) and _begins_early_enough(directory, numbers[position + 1], since, line):
            continue
        with open_index(directory, number) as index:
            first = _first_record(index, since, line)
            while first < len(index):
                last = _record_after(index, first)
                end = index[last][1] if last < len(index) else None
                block, _ = _read(directory, number, index[first:last], end)
                if block is not None:
                    yield block
                first = last


def next_line(directory: str) -> int:
    """The number of the line that will be written next; a line that is not complete yet counts as next."""
    for block in blocks_backward(directory):
        return block.first + len(block.texts)
    return 0


def line_at(directory: str, since: float) -> int:
    """The number of the first line that was read at or after `since`; the next one's when there is none."""
    for block in blocks_forward(directory, since=since):
        at = bisect_left(block.times, since)
        if at < len(block.times):
            return block.first + at
    return next_line(directory)


def bytes_after(directory: str, line: int) -> int:
    """About how many bytes there are from `line` on (its index record's granularity)."""
    total = 0
    for number in reversed(logfile.segments(directory)):
        size, _ = size_marks(directory, number)
        with open_index(directory, number) as index:
            if len(index) and index[0][2] <= line:
                at = bisect_right(index, line, key=lambda record: record[2]) - 1
                return total + size - index[at][1]
        total += size
    return total


def line_near_end(directory: str, size: int) -> int:
    """The number of a line that about `size` bytes follow."""
    for number in reversed(logfile.segments(directory)):
        whole, _ = size_marks(directory, number)
        with open_index(directory, number) as index:
            if len(index) and (whole >= size or number == 0):
                at = bisect_right(index, whole - size, key=lambda record: record[1])
                return index[min(at, len(index) - 1)][2]
        size -= whole
    return 0


def size_marks(directory: str, number: int) -> tuple[int, bool]:
    """Bytes in segment `number`, and whether a later one exists. Two `stat` calls: cheap enough for a loop."""
    try:
        size = os.stat(f"{directory}/{logfile.segment_name(number)}").st_size  # noqa: PTH116
    except FileNotFoundError:
        size = 0
    return size, os.path.exists(f"{directory}/{logfile.segment_name(number + 1)}")  # noqa: PTH110


def _begins_early_enough(directory: str, number: int, since: float | None, line: int) -> bool:
    """Whether segment `number` begins at or before the first line wanted, so that earlier ones can be skipped."""
    with open_index(directory, number) as index:
        if not len(index):
            return False
        time, _, first_line = index[0]
        return first_line <= line if since is None else time < since


def _first_record(index: IndexView, since: float | None, line: int) -> int:
    by_line = max(bisect_right(index, line, key=lambda record: record[2]) - 1, 0)
    if since is None:
        return by_line
    return max(by_line, bisect_left(index, since, key=lambda record: record[0]) - 1)


def _record_before(index: IndexView, last: int, end: int | None) -> int:
    """The first record of the block that ends before record `last`: at least BLOCK_BYTES away, or the start."""
    reach = (end if end is not None else index[last - 1][1] + BLOCK_BYTES // 4) - BLOCK_BYTES
    if reach <= 0:
        return 0
    at = bisect_right(index, reach, hi=last, key=lambda record: record[1]) - 1
    return max(min(at, last - 1), 0)


def _record_after(index: IndexView, first: int) -> int:
    at = bisect_right(index, index[first][1] + BLOCK_BYTES, lo=first, key=lambda record: record[1])
    return max(at, first + 1)


def _read(
    directory: str, number: int, records: Sequence[IndexRecord], end: int | None
) -> tuple[Block | None, int | None]:
    """The block from the first of `records` to byte `end` (None: the last complete line), and where it began.

    What an index says is held against the file: one that a crash has damaged must not make us read what is not there.
    """
    start = records[0][1]
    try:
        descriptor = os.open(f"{directory}/{logfile.segment_name(number)}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, start
    try:
        size = os.fstat(descriptor).st_size
        stop = size if end is None else min(end, size)
        data = _pread(descriptor, stop - start, start)
    finally:
        os.close(descriptor)
    data = data[: data.rfind(b"\n") + 1]
    if not data:
        return None, start
    return Block(records, data.decode("utf-8", "replace")), start


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    pieces: list[bytes] = []
    while size > 0 and (piece := os.pread(descriptor, size, offset)):
        pieces.append(piece)
        size -= len(piece)
        offset += len(piece)
    return b"".join(pieces)
