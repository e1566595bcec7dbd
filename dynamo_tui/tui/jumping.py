"""Where jump mode can go: every tab, every row on screen, and every other thing that takes the keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

from textual.geometry import Offset
from textual.widget import Widget

from dynamo_tui.tui.screens.base import View
from dynamo_tui.tui.widgets.tab_strip import TabStrip
from dynamo_tui.tui.widgets.table import Table

LETTERS = "asdfghjklqwertyuiopzxcvbnm"
"""In the order of the fingers: the home row first."""


@dataclass(frozen=True)
class Target:
    """A place on screen, and what goes there."""

    at: Offset
    go: Callable[[], None]


def targets(strip: TabStrip, views: Sequence[View]) -> list[Target]:
    """From the top left to the bottom right of each page, the tabs first."""
    found = [Target(Offset(x, strip.region.y), go) for x, go in strip.places()]
    for view in views:
        for widget in view.query("*"):
            if widget.can_focus and widget.display and widget.region.area:
                found += _rows(widget) if isinstance(widget, Table) else [_focus(widget)]
    return found


def _focus(widget: Widget) -> Target:
    return Target(widget.region.offset, partial(widget.screen.set_focus, widget))


def _rows(table: Table[object]) -> Iterator[Target]:
    shown = list(table.shown_rows())
    if not shown:
        yield _focus(table)
    for y, index in shown:
        yield Target(table.content_region.offset + Offset(0, y), partial(_go_to_row, table, index))


def _go_to_row(table: Table[object], index: int) -> None:
    table.screen.set_focus(table)
    table.move_to(index)


def labels(number: int) -> list[str]:
    """So many labels, none of which begins another: one letter each where that is enough, else two."""
    if number <= len(LETTERS):
        return list(LETTERS[:number])
    return ["".join(pair) for pair in product(LETTERS, repeat=2)][:number]
