"""The first line: where one is, and how the connection is."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from dynamo_tui.tui.store import Link, Store
from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.paint import fitted, palette_of

LINKS: dict[Link, Run] = {
    Link.CONNECTING: ("◌ connecting", Tone.WARN),
    Link.LIVE: ("● live", Tone.OK),
    Link.LOST: ("✗ disconnected", Tone.BAD),
    Link.REPLAY: ("▶ replay", Tone.INFO),
    Link.PAST: ("◂ past", Tone.WARN),
}


class TitleBar(Widget):
    DEFAULT_CSS = """
    TitleBar { height: 1; background: $background; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._left: list[Run] = []
        self._right: list[Run] = []

    def show(self, crumbs: Sequence[str], notes: Sequence[str], store: Store, context: str) -> None:
        left: list[Run] = [(" dynamo", Tone.TITLE)]
        for i, crumb in enumerate(crumbs):
            left += [(" › ", Tone.MUTED), (crumb, Tone.STRONG if i == len(crumbs) - 1 else Tone.TEXT)]
        left += [(f"  {note}", Tone.INFO) for note in notes]
        right: list[Run] = []
        if store.info is not None and store.info.gpus_simulated:
            right.append(("simulated GPUs  ", Tone.WARN))
        right += [LINKS[store.link], (f"  {context} ", Tone.MUTED)]
        if (left, right) != (self._left, self._right):
            self._left, self._right = left, right
            self.refresh()

    @property
    def text(self) -> str:
        return "".join(text for text, _ in (*self._left, *self._right))

    def render_line(self, y: int) -> Strip:
        del y
        palette = palette_of(self)
        width = self.size.width
        used = sum(cell_len(text) for text, _ in self._right)
        room = max(0, width - used)
        segments = fitted(self._left, room, palette, palette.base) + fitted(
            self._right, width - room, palette, palette.base
        )
        return Strip(segments, width)
