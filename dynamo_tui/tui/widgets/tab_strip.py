"""The tabs by name, in a line that is there where there are several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from rich.cells import cell_len
from textual.events import Click
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.paint import line, palette_of


class TabStrip(Widget):
    DEFAULT_CSS = """
    TabStrip { height: 1; display: none; background: $surface; }
    TabStrip.-several { display: block; }
    """

    class Chosen(Message):
        """A tab was clicked, or jumped to; tabs count from 0."""

        def __init__(self, index: int) -> None:
            self.index = index
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self._names: tuple[str, ...] = ()
        self._current = 0

    def show(self, names: Sequence[str], current: int) -> None:
        if (tuple(names), current) != (self._names, self._current):
            self._names, self._current = tuple(names), current
            self.set_class(len(names) > 1, "-several")
            self.refresh()

    def _titles(self) -> list[str]:
        return [f" {number} {name} " for number, name in enumerate(self._names, 1)]

    def places(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """The cell at which each tab begins, and what opens it."""
        if len(self._names) > 1:
            x = 0
            for index, title in enumerate(self._titles()):
                yield x, partial(self._choose, index)
                x += cell_len(title) + 1

    def _choose(self, index: int) -> None:
        self.post_message(self.Chosen(index))

    def on_click(self, event: Click) -> None:
        index = sum(1 for x, _ in self.places() if x <= event.x) - 1
        if index >= 0:
            self._choose(index)

    def render_line(self, y: int) -> Strip:
        del y
        runs: list[Run] = []
        for index, title in enumerate(self._titles()):
            here = index == self._current
            runs += [(title.replace(" ", "▸", 1) if here else title, Tone.STRONG if here else Tone.MUTED)]
            runs.append(("│", Tone.MUTED))
        return line(runs, self.size.width, palette_of(self))
