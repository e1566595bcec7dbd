from __future__ import annotations

from dynamo_tui.tui.drawing.braille import bar, joined, plot, sparkline


def test_plot_draws_extremes_at_the_edges() -> None:
    rows = plot([[0.0, 1.0]], 1, 2, 0.0, 1.0)
    # Left dot column ends at the bottom, right one starts right above it and climbs to the top.
    assert rows[1][0] == (chr(0x2800 | 0x40 | 0x80 ^ 0x80 | 0x08 | 0x10 | 0x20), 0)
    assert rows[0][0] == (chr(0x2800 | 0x08 | 0x10 | 0x20 | 0x80), 0)


def test_plot_breaks_at_gaps_and_clamps() -> None:
    rows = plot([[5.0, None, None, -5.0]], 2, 1, 0.0, 1.0)
    assert rows == [[(chr(0x2801), 0), (chr(0x2880), 0)]]


def test_later_series_own_shared_cells() -> None:
    rows = plot([[0.0, 0.0], [0.0, 0.0]], 1, 1, 0.0, 1.0)
    assert rows[0][0][1] == 1


def test_sparkline_scales_and_leaves_gaps() -> None:
    assert sparkline([0.0, None, 0.5, 1.0], 0.0, 1.0) == "▁ ▅█"
    assert sparkline([0.0, 0.0]) == "▁▁"


def test_bar_fills_by_eighths() -> None:
    assert bar(0.5, 4) == ("██", "··")
    assert bar(2.0, 3) == ("███", "")
    assert bar(1 / 16, 2) == ("▏", "·")


def test_joined_fills_short_gaps_only() -> None:
    assert joined([1.0, None, None, None, 2.0], 2) == [1.0, 1.0, 1.0, None, 2.0]
