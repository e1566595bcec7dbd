from __future__ import annotations

import msgspec
import pytest

from dynamo_tui.tui.line_buffer import CHUNK, LineBuffer
from dynamod.schema import LogGap, LogLine


def line(number: int) -> LogLine:
    return LogLine(t=float(number), replica="r", service="s", line=number, text=str(number))


def test_holds_the_newest_lines_under_their_numbers() -> None:
    buffer = LineBuffer(limit=2_000)
    buffer.extend([line(n) for n in range(10_000)])
    assert buffer.end == 10_000
    assert 2_000 <= len(buffer) < 2_000 + CHUNK
    for number in (buffer.first, buffer.first + 700, 9_999):
        assert buffer[number].line == number
    with pytest.raises(IndexError):
        buffer[buffer.first - 1]


def test_older_lines_count_down() -> None:
    buffer = LineBuffer()
    buffer.extend([line(n) for n in range(5)])
    buffer.prepend([line(-2), line(-1)])
    assert buffer.first == -2
    assert [e.line for _, e in buffer.numbered(-2)] == [-2, -1, 0, 1, 2, 3, 4]
    assert [e.line for _, e in buffer.numbered(99, -1)] == [4, 3, 2, 1, 0, -1, -2]


def test_gaps_are_counted() -> None:
    buffer = LineBuffer()
    buffer.extend([line(0), LogGap(skipped=1_204)])
    assert buffer.skipped == 1_204
    buffer.clear()
    assert len(buffer) == 0
    assert list(buffer.numbered(0)) == []


def test_lines_may_stay_in_json_until_they_are_read() -> None:
    buffer = LineBuffer()
    buffer.extend([msgspec.json.encode(line(0)), line(1), b"{not json"])
    assert [e.line for _, e in buffer.numbered(0)][:2] == [0, 1]
    assert "cannot be read" in buffer[2].text
