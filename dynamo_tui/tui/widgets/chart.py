"""A line chart in braille with a value axis and a time axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from dynamo_tui.tui.drawing.braille import Cell, joined, plot
from dynamo_tui.tui.figures import clock, number, span
from dynamo_tui.tui.history import Track
from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.paint import fitted, palette_of

AXIS_WIDTH = 7


@dataclass(frozen=True)
class Curve:
    """One line of a chart. Later curves are drawn over earlier ones."""

    name: str
    tone: Tone
    track: Track


@dataclass(frozen=True)
class Range:
    """What a chart shows: times in seconds since the epoch; `high` None takes the largest value."""

    start: float
    end: float
    low: float = 0.0
    high: float | None = None


class Chart(Widget):
    """Draws curves over a range. `cursor` is a time at which the values are read off, or None."""

    DEFAULT_CSS = """
    Chart { height: 1fr; min-height: 4; background: $background; }
    """

    def __init__(self, *, value_format: Callable[[float], str] = number, id: str | None = None) -> None:
        super().__init__(id=id)
        self.value_format = value_format
        self.curves: Sequence[Curve] = ()
        self.range = Range(0, 0)
        self.cursor: float | None = None
        self._drawn: list[list[Cell]] = []
        self._high = 1.0
        self._key: object = None

    def show(self, curves: Sequence[Curve], range_: Range, *, cursor: float | None = None) -> None:
        self.curves, self.range, self.cursor = tuple(curves), range_, cursor
        self._key = None
        self.refresh()

    @property
    def high(self) -> float:
        """The top of the value axis."""
        if self.range.high is not None:
            return self.range.high
        values = [v for c in self.curves for _, v in c.track.between(self.range.start, self.range.end) if v is not None]
        return _round_up(max(values, default=1.0))

    def _draw(self) -> None:
        width, height = max(1, self.size.width - AXIS_WIDTH), max(1, self.size.height - 1)
        if self._key == (width, height):
            return
        self._key = (width, height)
        self._high = self.high
        dots = width * 2
        per_dot = (self.range.end - self.range.start) / dots if dots else 0
        rows = []
        for curve in self.curves:
            values = curve.track.buckets(self.range.start, self.range.end, dots)
            # A line is unbroken across as many dots as lie between two points that came on time.
            reach = max(2, int(_usual_gap(curve.track) * 2.5 / per_dot)) if per_dot > 0 else 2
            rows.append(joined(values, reach))
        self._drawn = plot(rows, width, height, self.range.low, self._high)

    def render_line(self, y: int) -> Strip:
        palette = palette_of(self)
        width, height = self.size.width, self.size.height
        base = palette.base
        if height < 2 or width <= AXIS_WIDTH:
            return Strip.blank(width, base)
        self._draw()
        muted = base + palette[Tone.MUTED]
        if y == height - 1:
            return Strip(fitted(self._time_axis(width), width, palette, base), width)
        plot_height = height - 1
        share = _ticks(plot_height).get(y)
        label = "" if share is None else self.value_format(self.range.low + (self._high - self.range.low) * share)
        segments = [Segment(label.rjust(AXIS_WIDTH - 2) + (" ┤" if label else " │"), muted)]
        cursor_x = self._cursor_cell(width - AXIS_WIDTH)
        for x, (char, index) in enumerate(self._drawn[y] if y < len(self._drawn) else ()):
            if x == cursor_x and char == " ":
                segments.append(Segment("╎", muted))
            elif index < 0:
                segments.append(Segment(char, muted))
            else:
                segments.append(Segment(char, base + palette[self.curves[index].tone]))
        return Strip(segments).simplify().adjust_cell_length(width, base)

    def _cursor_cell(self, width: int) -> int | None:
        length = self.range.end - self.range.start
        if self.cursor is None or length <= 0:
            return None
        return min(width - 1, max(0, int((self.cursor - self.range.start) / length * width)))

    def _time_axis(self, width: int) -> list[Run]:
        room = width - AXIS_WIDTH
        length = self.range.end - self.range.start
        start, end = f"-{span(length)}", clock(self.range.end)
        middle = f"-{span(length / 2)}"
        gap = max(1, room - len(start) - len(middle) - len(end))
        left = max(1, room // 2 - len(start) - len(middle) // 2)
        if gap <= left:
            text = start + " " * max(1, room - len(start) - len(end)) + end
        else:
            text = start + " " * left + middle + " " * (gap - left) + end
        return [(" " * (AXIS_WIDTH - 1) + "└", Tone.MUTED), (text, Tone.MUTED)]


def _ticks(rows: int) -> dict[int, float]:
    """Which rows carry a label, and for which share of the axis: both ends, and what fits between."""
    parts = 4 if rows >= 9 else 2 if rows >= 5 else 1
    return {round((rows - 1) * (1 - i / parts)): i / parts for i in range(parts + 1)}


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 < value:
        power *= 10
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value)


def _usual_gap(track: Track) -> float:
    """The usual time between two points: the median of the last few gaps."""
    last = [t for t, _ in list(track.points)[-9:]]
    gaps = sorted(b - a for a, b in pairwise(last))
    return gaps[len(gaps) // 2] if gaps else 1.0
