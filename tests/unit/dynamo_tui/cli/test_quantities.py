from __future__ import annotations

import pytest

from dynamo_tui.cli import quantities


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5", 1.5), ("250ms", 0.25), ("30s", 30), ("1h30m", 5400), ("2d", 172800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert quantities.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5 m", "m5", "-3s", "5w"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        quantities.duration(text)


def test_moments() -> None:
    assert quantities.moment("5m", 1000.0) == 700.0
    assert quantities.moment("1767323045", 0) == 1767323045
    assert quantities.moment("2026-01-02T03:04:05Z", 0) == 1767323045
    assert quantities.moment("2026-01-02T04:04:05+01:00", 0) == 1767323045
    with pytest.raises(ValueError, match="no time"):
        quantities.moment("yesterday", 0)


def test_figures_for_people() -> None:
    assert quantities.span(61) == "61s"
    assert quantities.span(7500) == "2h05m"
    assert quantities.memory(1536 * 1024) == "1.5 MiB"
    assert quantities.seconds(0.0000421) == "42 µs"
    assert quantities.seconds(0.0421) == "42.1 ms"
    assert quantities.percent(0.8712) == "87.1 %"
    assert quantities.number(3.0) == "3"
    assert quantities.number(None) == "-"
