"""From runs of text in tones to strips of cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from dynamo_tui.tui.tones import Palette, Run, palette


def palette_of(widget: Widget) -> Palette:
    """The palette of the theme that is on now. It is asked for at every line, so that the last one is kept."""
    app = widget.app
    variables = app.theme_variables  # another object whenever the theme changes
    if _last[0] is not variables:
        _last[:] = variables, palette(variables, app.current_theme.dark)
    found: Palette = _last[1]
    return found


_last: list[Any] = [None, None]


def strip_of(segments: Iterable[Segment], width: int, base: Style) -> Strip:
    """The segments as a strip of exactly `width` cells, cut or filled up with `base`."""
    fitting: list[Segment] = []
    left = width
    for segment in segments:
        size = segment.cell_length
        if size >= left:
            fitting.append(segment if size == left else Segment(set_cell_size(segment.text, left), segment.style))
            left = 0
            break
        fitting.append(segment)
        left -= size
    if left:
        fitting.append(Segment(" " * left, base))
    return Strip(fitting, width)


def fitted(
    runs: Sequence[Run], width: int, palette: Palette, base: Style, *, align: Literal["left", "right"] = "left"
) -> list[Segment]:
    """The runs as segments of exactly `width` cells; what does not fit ends in `…`."""
    used = sum(cell_len(text) for text, _ in runs)
    segments: list[Segment] = []
    if align == "right" and used < width:
        segments.append(Segment(" " * (width - used), base))
        width = used
    left = width
    for text, tone in runs:
        size = cell_len(text)
        if size > left:
            text, size = set_cell_size(text, left - 1) + "…", left
        if text:
            segments.append(Segment(text, base + palette[tone]))
        left -= size
        if left <= 0:
            break
    if left > 0:
        segments.append(Segment(" " * left, base))
    return segments


def line(runs: Sequence[Run], width: int, palette: Palette) -> Strip:
    """One line of exactly `width` cells on the background."""
    return Strip(fitted(runs, width, palette, palette.base), width)


class Lines(Widget):
    """A widget that is a list of lines of runs, cut to its size: what most panels of figures are."""

    DEFAULT_CSS = """
    Lines { height: auto; background: $background; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Sequence[Run]] = []

    def set_lines(self, lines: Sequence[Sequence[Run]]) -> None:
        lines = list(lines)
        if lines != self._lines:
            resized = len(lines) != len(self._lines)
            self._lines = lines
            self.refresh(layout=resized)

    @property
    def text(self) -> str:
        """The lines without their tones."""
        return "\n".join("".join(text for text, _ in runs) for runs in self._lines)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        del container, viewport, width
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        runs = self._lines[y] if y < len(self._lines) else ()
        return line(runs, self.size.width, palette_of(self))
