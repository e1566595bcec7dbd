"""The format of a replica's log directory, shared by its writer (the shim) and its readers.

    <replica dir>/log/00000000.log    what the replica wrote to stdout and stderr, byte for byte, in lines
    <replica dir>/log/00000000.idx    its index: fixed records of 24 bytes, little-endian `<dQQ`
    <replica dir>/log/00000001.log    …the next segment
    <replica dir>/log/dropped         how many bytes a full disk has cost, as long as no line of the log says so

Segments are numbered upwards; the writer starts a new one on a line end once one holds `SEGMENT_BYTES`,
and deletes the oldest beyond `SEGMENTS_KEPT`. An index record is `(time, offset, line)`: the line with
number `line` starts at byte `offset` of its segment and was read from the replica at `time` (seconds
since the epoch, never decreasing). Lines count from 0 over the replica's whole life, restarts and
deleted segments included. The first record of a segment has offset 0. There is one record per chunk that
the writer read, so a reader seeks to the record before what it looks for and scans lines from there; a
line's time is that of the last record at or before it.

The writer appends data first and its index record after it: an index never points past the data, and
data without a record (a writer that was killed between) belongs to the lines after the last record.
A process's last line is completed with a newline; a line longer than `LINE_BYTES` is broken there.

Standard library only, and few modules of it: the shim pays for every import.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right

SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENTS_KEPT = 8
LINE_BYTES = 1024 * 1024
LOG_DIR = "log"
DROPPED, DROPPED_BYTES = "dropped", 20

_RECORD = struct.Struct("<dQQ")
RECORD_BYTES = _RECORD.size

IndexRecord = tuple[float, int, int]
"""`(time, offset, line)`."""


def log_dir(replica_dir: str) -> str:
    return f"{replica_dir}/{LOG_DIR}"


def segment_name(number: int) -> str:
    return f"{number:08d}.log"


def index_name(number: int) -> str:
    return f"{number:08d}.idx"


def segments(directory: str) -> list[int]:
    """Numbers of the segments in `directory`, oldest first; none when it does not exist."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(int(name[:-4]) for name in names if name.endswith(".log") and name[:-4].isdigit())


def pack(time: float, offset: int, line: int) -> bytes:
    return _RECORD.pack(time, offset, line)


def unpack(data: bytes) -> list[IndexRecord]:
    """All whole records in `data`; a torn one at the end is left out."""
    whole = len(data) - len(data) % RECORD_BYTES
    return [(t, offset, line) for t, offset, line in _RECORD.iter_unpack(data[:whole])]


def read_index(directory: str, number: int) -> list[IndexRecord]:
    """The index of one segment; empty when the segment is gone or has none yet."""
    try:
        with open(f"{directory}/{index_name(number)}", "rb") as file:
            return unpack(file.read())
    except FileNotFoundError:
        return []


def seek_line(records: list[IndexRecord], line: int) -> IndexRecord | None:
    """The last record at or before `line`, from where a reader scans forward; None when all are after it."""
    at = bisect_right(records, line, key=lambda record: record[2])
    return records[at - 1] if at else None


def seek_time(records: list[IndexRecord], time: float) -> IndexRecord | None:
    """The last record read before `time`: every line at or after `time` lies behind it; None when all are later."""
    at = bisect_right(records, time, key=lambda record: record[0])
    while at and records[at - 1][0] >= time:
        at -= 1
    return records[at - 1] if at else None
