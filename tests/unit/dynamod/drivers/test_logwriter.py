from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamod.drivers import logfile
from dynamod.drivers.logwriter import LogWriter


def stored(directory: Path) -> bytes:
    return b"".join((directory / logfile.segment_name(n)).read_bytes() for n in logfile.segments(str(directory)))


def lines_by_index(directory: Path) -> dict[int, bytes]:
    """Every line that an index record points at, by number."""
    found: dict[int, bytes] = {}
    for number in logfile.segments(str(directory)):
        data = (directory / logfile.segment_name(number)).read_bytes()
        for _, offset, line in logfile.read_index(str(directory), number):
            found[line] = data[offset:].split(b"\n", 1)[0]
    return found


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\r", b"\n")), max_size=30),
    segment=st.integers(1, 60),
    reopen_at=st.integers(0, 30),
)
def test_nothing_is_lost_and_the_index_is_right(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], segment: int, reopen_at: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    writer = LogWriter(str(directory), segment_bytes=segment, keep=10_000)
    expected = b""
    for n, chunk in enumerate(chunks):
        if n == reopen_at:
            writer.close()
            writer = LogWriter(str(directory), segment_bytes=segment, keep=10_000)
            if expected and not expected.endswith(b"\n"):
                expected += b"\n"
        writer.write(chunk)
        expected += chunk
    writer.finish()
    writer.close()
    if expected and not expected.endswith(b"\n"):
        expected += b"\n"
    assert stored(directory) == expected
    lines = expected.split(b"\n")
    for line, text in lines_by_index(directory).items():
        assert lines[line] == text
    for number in logfile.segments(str(directory))[:-1]:
        assert (directory / logfile.segment_name(number)).read_bytes().endswith(b"\n")
        assert logfile.read_index(str(directory), number)[0][1] == 0


def test_old_segments_go_and_line_numbers_stay(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), segment_bytes=10, keep=2)
    for n in range(20):
        writer.write(b"line %04d\n" % n)
    writer.close()
    assert len(logfile.segments(str(tmp_path))) == 2
    assert lines_by_index(tmp_path) == {18: b"line 0018", 19: b"line 0019"}


def test_a_line_without_end_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "LINE_BYTES", 8)
    writer = LogWriter(str(tmp_path))
    writer.write(b"abc")
    writer.write(b"defghijklmnopqrstu\nv")
    writer.finish()
    writer.close()
    assert stored(tmp_path) == b"abcdefgh\nijklmnop\nqrstu\nv\n"


def test_a_torn_index_record_is_cut_off(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path))
    writer.write(b"one\n")
    writer.close()
    with (tmp_path / logfile.index_name(0)).open("ab") as file:
        file.write(b"torn")
    writer = LogWriter(str(tmp_path))
    writer.write(b"two\n")
    writer.close()
    assert lines_by_index(tmp_path) == {0: b"one", 1: b"two"}


def test_seeking() -> None:
    records = [(1.0, 0, 0), (2.0, 10, 5), (2.0, 20, 9), (3.0, 30, 12)]
    assert logfile.seek_line(records, 6) == (2.0, 10, 5)
    assert logfile.seek_line([(1.0, 0, 7)], 6) is None
    assert logfile.seek_time(records, 2.0) == (1.0, 0, 0)
    assert logfile.seek_time(records, 2.5) == (2.0, 20, 9)
    assert logfile.seek_time(records, 0.5) is None
    assert logfile.unpack(logfile.pack(1.5, 2, 3) + b"xx") == [(1.5, 2, 3)]
