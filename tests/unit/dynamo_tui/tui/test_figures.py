from __future__ import annotations

import pytest

from dynamo_tui.tui import figures


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figures.count(48_112), "48,112"),
        (figures.count(1_234_567), "1.2M"),
        (figures.number(12.41), "12.4"),
        (figures.number(3.0), "3"),
        (figures.number(0.1234), "0.12"),
        (figures.percent(0.8421), "84.2%"),
        (figures.percent(1.0), "100%"),
        (figures.duration(0.00085), "850µs"),
        (figures.duration(0.0038), "3.8ms"),
        (figures.duration(0.038), "38ms"),
        (figures.duration(1.24), "1.24s"),
        (figures.memory(212e6), "202Mi"),
        (figures.cores(0.032), "3.2%"),
        (figures.span(192), "3m12s"),
        (figures.span(7_500), "2h05m"),
        (figures.span(400_000), "4d15h"),
        (figures.shortened("abcdef", 4), "abc…"),
    ],
)
def test_figures_read_short(shown: str, expected: str) -> None:
    assert shown == expected


def test_what_is_missing_shows_as_missing() -> None:
    for form in (
        figures.count,
        figures.number,
        figures.rate,
        figures.percent,
        figures.duration,
        figures.memory,
        figures.cores,
    ):
        assert form(None) == "—"
    assert figures.age(None, 0.0) == "—"
