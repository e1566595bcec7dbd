from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from dynamod.core.errors import Invalid
from dynamod.drivers import logfile
from dynamod.observe.logs import query
from dynamod.observe.logs.query import log_filter, read_page
from dynamod.schema import LogLine
from tests.unit.dynamod.observe.logs.writing import WrittenLog


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


@pytest.fixture
def many(tmp_path: Path) -> WrittenLog:
    """1,000 lines over many segments, line `n` written at time `1000 + n`."""
    log = WrittenLog(tmp_path, "r1", segment_bytes=4096)
    for n in range(1000):
        log.write(f"INFO line {n}\n", at=1000.0 + n)
    return log


def test_a_tail_is_the_newest_lines_in_order_and_pages_back_to_the_first(many: WrittenLog) -> None:
    page = read_page([many.source], log_filter(), limit=300, tail=True)
    assert texts(page.items) == [f"INFO line {n}" for n in range(700, 1000)]
    seen = [page.items]
    while page.next:
        page = read_page([many.source], log_filter(), limit=300, tail=True, after=page.next)
        seen.insert(0, page.items)
    assert [line.line for line in itertools.chain(*seen)] == list(range(1000))


def test_reading_forward_pages_to_the_end_without_a_gap_or_a_double(many: WrittenLog) -> None:
    page = read_page([many.source], log_filter(since=1100.0), limit=77, tail=False)
    seen = page.items
    while page.next:
        page = read_page([many.source], log_filter(since=1100.0), limit=77, tail=False, after=page.next)
        seen += page.items
    assert [line.line for line in seen] == list(range(100, 1000))
    assert [line.t for line in seen] == [1000.0 + line.line for line in seen]


def test_both_ends_of_a_time_range_are_included(many: WrittenLog) -> None:
    for tail in (True, False):
        page = read_page([many.source], log_filter(since=1500.0, until=1502.0), limit=10, tail=tail)
        assert [line.line for line in page.items] == [500, 501, 502]


def test_replicas_are_merged_by_time(tmp_path: Path) -> None:
    one, two = WrittenLog(tmp_path, "one"), WrittenLog(tmp_path, "two")
    for n in range(10):
        (one if n % 2 else two).write(f"{n}\n", at=100.0 + n)
    for tail in (True, False):
        page = read_page([one.source, two.source], log_filter(), limit=100, tail=tail)
        assert texts(page.items) == [str(n) for n in range(10)]


def test_a_pattern_finds_what_a_scan_of_each_line_finds(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path, "r")
    log.write("alpha\nbeta foo\nfoo\n  foo bar\nfoo \ngamma\n", at=1.0)
    for pattern, found in {
        "^foo$": ["foo"],
        "foo": ["beta foo", "foo", "  foo bar", "foo "],
        r"foo(?!\s)": ["beta foo", "foo"],
        r"\Afoo": ["foo", "foo "],
        "a[^z]*f": ["beta foo"],
    }.items():
        page = read_page([log.source], log_filter(pattern=pattern), limit=100, tail=False)
        assert texts(page.items) == found, pattern


def test_a_level_takes_more_severe_ones_and_the_lines_that_belong_to_them(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path, "r")
    log.write(
        "2026-01-01 INFO fine\n"
        "WARNING:root:hm\n"
        '{"level": "error", "message": "bad"}\n'
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1\n'
        "E0102 10:11:12.1 1 x.cc] glog\n"
        "plain\n",
        at=1.0,
    )
    page = read_page([log.source], log_filter(level="error"), limit=100, tail=False)
    assert [line.line for line in page.items] == [2, 3, 4, 5]
    page = read_page([log.source], log_filter(level="warn"), limit=100, tail=False)
    assert [line.line for line in page.items] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("field", "given"),
    [("regex", {"pattern": "("}), ("level", {"level": "loud"}), ("since", {"since": 2.0, "until": 1.0})],
)
def test_a_bad_filter_names_its_field(field: str, given: dict[str, str]) -> None:
    with pytest.raises(Invalid) as caught:
        log_filter(**given)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_pattern_that_would_never_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "LINE_BUDGET_S", 0.05)
    log = WrittenLog(tmp_path, "r")
    log.write("a" * 60 + "b\n", at=1.0)
    with pytest.raises(Invalid, match="one line"):
        read_page([log.source], log_filter(pattern="(a|aa)+$"), limit=1, tail=True)


def test_a_long_search_ends_its_page_early_and_goes_on_from_there(
    many: WrittenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "PAGE_BUDGET_S", -1.0)
    for tail in (True, False):
        wanted = log_filter(pattern="line [0-9]*7$")
        page = read_page([many.source], wanted, limit=1000, tail=tail)
        pages, seen = 1, list(page.items)
        while page.next:
            page = read_page([many.source], wanted, limit=1000, tail=tail, after=page.next)
            seen = page.items + seen if tail else seen + page.items
            pages += 1
        assert pages > 2
        assert [line.line for line in seen] == list(range(7, 1000, 10))


def test_a_foreign_cursor_is_refused(many: WrittenLog) -> None:
    with pytest.raises(Invalid, match="cursor"):
        read_page([many.source], log_filter(), limit=1, tail=True, after="nonsense")


def test_a_replica_without_a_log_has_no_lines(tmp_path: Path) -> None:
    source = query.LogSource("ghost", "Worker", str(tmp_path / "nowhere"))
    assert read_page([source], log_filter(), limit=10, tail=True).items == []


def test_an_unfinished_line_waits_until_it_ends(tmp_path: Path) -> None:
    log = WrittenLog(tmp_path, "r")
    log.write("whole\nhal", at=1.0)
    assert texts(read_page([log.source], log_filter(), limit=10, tail=True).items) == ["whole"]
    log.write("f\n", at=2.0)
    assert texts(read_page([log.source], log_filter(), limit=10, tail=True).items) == ["whole", "half"]


def test_a_damaged_index_costs_times_and_no_lines(tmp_path: Path) -> None:
    """After a crash of the machine a file may end in zeros, or hold anything."""
    log = WrittenLog(tmp_path, "r1")
    for n in range(10):
        log.write(f"line {n}\n", at=float(n))
    index = Path(log.directory) / logfile.index_name(0)
    whole = index.read_bytes()
    for damaged in (
        whole[:-48] + bytes(48),
        whole[:24] + logfile.pack(1.0, 2**60, 2**60) + whole[48:],
        logfile.pack(0.0, 0, 0) + logfile.pack(float("nan"), 1, 2**63),
    ):
        index.write_bytes(damaged)
        page = read_page([log.source], log_filter(), limit=100, tail=True)
        assert "line 0" in [line.text for line in page.items]
