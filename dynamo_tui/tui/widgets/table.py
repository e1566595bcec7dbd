"""A keyed table that costs what is on screen, whatever its length.

Textual's DataTable takes tens of milliseconds to update a thousand rows; the dashboard has 50 for a
keystroke. Here a cell is made when its line is drawn, so that an update is a new list of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dynamo_tui.tui.matching import matches
from dynamo_tui.tui.tones import Palette, Run, Tone
from dynamo_tui.tui.widgets.paint import fitted, palette_of, strip_of

R = TypeVar("R")


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column. `width` None fits the widest cell, up to `limit`; `grow` shares spare room.

    Where there is no room for all, columns of the highest `rank` go first; rank 0 always stays.
    """

    title: str
    cell: Callable[[R], Sequence[Run]]
    width: int | None = None
    align: Literal["left", "right"] = "left"
    grow: int = 0
    rank: int = 0
    limit: int = 60


class Table(ScrollView, Generic[R], can_focus=True, inherit_bindings=False):
    DEFAULT_CSS = """
    Table { background: $background; scrollbar-size-vertical: 1; overflow-x: hidden; overflow-y: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "Up", show=False, id="table.up"),
        Binding("down,j", "cursor(1)", "Down", show=False, id="table.down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="table.page-up"),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False, id="table.page-down"),
        Binding("home,g", "first", "First", show=False, id="table.first"),
        Binding("end,G", "last", "Last", show=False, id="table.last"),
        Binding("enter", "select", "Open", id="table.open"),
    ]

    class Selected(Message):
        """`enter` on a row, or a click on the row under the cursor."""

        def __init__(self, table: Table[Any], row: Any) -> None:
            self.table, self.row = table, row
            super().__init__()

        @property
        def control(self) -> Table[Any]:
            return self.table

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, table: Table[Any], row: Any | None) -> None:
            self.table, self.row = table, row
            super().__init__()

        @property
        def control(self) -> Table[Any]:
            return self.table

    def __init__(
        self,
        columns: Sequence[Column[R]],
        key: Callable[[R], str],
        *,
        empty: str = "nothing here",
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.columns = tuple(columns)
        self.row_key = key
        self.empty = empty
        self.filter = ""
        self.marked: set[str] = set()
        """Keys of the rows that are marked; what is marked and gone stays marked."""
        self._all: Sequence[R] = ()
        self._rows: Sequence[R] = ()
        self._cursor = 0
        self._fitted: list[int] = [0] * len(self.columns)
        self._layout: list[tuple[int, int]] | None = None  # (column index, width) of those that fit
        self._layout_width = -1

    # -- data -----------------------------------------------------------------------------------------------

    @property
    def row(self) -> R | None:
        """The row under the cursor."""
        return self._rows[self._cursor] if 0 <= self._cursor < len(self._rows) else None

    @property
    def rows(self) -> Sequence[R]:
        """The rows that pass the filter."""
        return self._rows

    @property
    def total(self) -> int:
        return len(self._all)

    @property
    def marked_rows(self) -> list[R]:
        """The marked rows, whether they pass the filter or not."""
        return [row for row in self._all if self.row_key(row) in self.marked]

    def toggle_mark(self) -> None:
        """Mark the row under the cursor, or take its mark away, and go on to the next."""
        if (row := self.row) is not None:
            self.marked ^= {self.row_key(row)}
            self.refresh()
            self.move_to(self._cursor + 1)

    def set_rows(self, rows: Iterable[R]) -> None:
        """Show these rows, in this order; the cursor stays on its row."""
        self._all = list(rows)
        for i, column in enumerate(self.columns):
            if column.width is None:
                widest = max((sum(cell_len(t) for t, _ in column.cell(r)) for r in self._all), default=0)
                self._fitted[i] = min(column.limit, max(widest, len(column.title)))
        self._layout = None
        self._show()

    def set_filter(self, text: str) -> None:
        if text != self.filter:
            self.filter = text
            self._show()

    def text_of(self, row: R) -> str:
        """What the filter sees of a row: its key and all its cells."""
        cells = (text for column in self.columns for text, _ in column.cell(row))
        return " ".join((self.row_key(row), *cells))

    def _show(self) -> None:
        held = self.row
        key = None if held is None else self.row_key(held)
        self._rows = [r for r in self._all if matches(self.filter, self.text_of(r))] if self.filter else self._all
        position = next((i for i, r in enumerate(self._rows) if self.row_key(r) == key), None)
        before = self._cursor
        self._cursor = position if position is not None else min(before, max(0, len(self._rows) - 1))
        self.virtual_size = Size(self.size.width, len(self._rows) + 1)
        self.refresh()
        now = self.row
        if (None if now is None else self.row_key(now)) != key:
            self.post_message(self.Moved(self, now))

    # -- cursor ---------------------------------------------------------------------------------------------

    def move_to(self, index: int) -> None:
        index = min(max(index, 0), max(0, len(self._rows) - 1))
        if index != self._cursor:
            self._cursor = index
            self.refresh()
            self.post_message(self.Moved(self, self.row))
        body = Region(0, index, 1, 2)  # the header covers the first line of what is visible
        self.scroll_to_region(body, animate=False, force=True)

    def shown_rows(self) -> Iterator[tuple[int, int]]:
        """The line on screen, below the header, and the index of each row that is on it."""
        first = int(self.scroll_offset.y)
        for y in range(1, self.size.height):
            if first + y - 1 < len(self._rows):
                yield y, first + y - 1

    def move_to_key(self, key: str) -> bool:
        """Put the cursor on the row of that key; False where it is not shown."""
        for i, row in enumerate(self._rows):
            if self.row_key(row) == key:
                self.move_to(i)
                return True
        return False

    def action_cursor(self, by: int) -> None:
        self.move_to(self._cursor + by)

    def action_page(self, by: int) -> None:
        self.move_to(self._cursor + by * max(1, self.size.height - 2))

    def action_first(self) -> None:
        self.move_to(0)

    def action_last(self) -> None:
        self.move_to(len(self._rows) - 1)

    def action_select(self) -> None:
        if (row := self.row) is not None:
            self.post_message(self.Selected(self, row))

    def on_click(self, event: object) -> None:
        y = getattr(event, "y", 0)
        if y < 1:
            return
        index = self.scroll_offset.y + y - 1
        if index < len(self._rows):
            if index == self._cursor:
                self.action_select()
            self.move_to(index)

    # -- drawing --------------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self._rows) + 1)

    def _columns(self, width: int) -> list[tuple[int, int]]:
        if self._layout is not None and self._layout_width == width:
            return self._layout
        wanted = [
            max(len(c.title), c.width if c.width is not None else self._fitted[i]) for i, c in enumerate(self.columns)
        ]
        shown = list(range(len(self.columns)))
        while len(shown) > 1 and sum(wanted[i] + 2 for i in shown) > width:
            worst = max(shown, key=lambda i: (self.columns[i].rank, i))
            if self.columns[worst].rank == 0:
                break
            shown.remove(worst)
        spare = width - sum(wanted[i] + 2 for i in shown)
        growing = sum(self.columns[i].grow for i in shown)
        layout = []
        for i in shown:
            extra = spare * self.columns[i].grow // growing if growing and spare > 0 else 0
            layout.append((i, wanted[i] + extra))
        self._layout, self._layout_width = layout, width
        return layout

    def render_line(self, y: int) -> Strip:
        palette = palette_of(self)
        width = self.size.width
        if y == 0:
            return self._header(width, palette)
        index = self.scroll_offset.y + y - 1
        if index >= len(self._rows):
            if index == 0 and not self._rows:
                text = self.empty if not self._all else f"no match for /{self.filter} in {len(self._all)} rows"
                return strip_of([Segment(f" {text}", palette.base + palette[Tone.MUTED])], width, palette.base)
            return Strip.blank(width, palette.base)
        base = palette.base
        if index == self._cursor:
            base += palette.cursor if self.has_focus else palette.cursor_idle
        row = self._rows[index]
        lead = "▌" if index == self._cursor and self.has_focus else " "
        if self.marked and self.row_key(row) in self.marked:
            lead = "◆"
        segments = [Segment(lead, base + palette[Tone.ACCENT if lead == "◆" else Tone.INFO])]
        for i, cells in self._columns(width - 1):
            column = self.columns[i]
            segments += fitted(column.cell(row), cells, palette, base, align=column.align)
            segments.append(Segment("  ", base))
        return strip_of(segments, width, base)

    def _header(self, width: int, palette: Palette) -> Strip:
        style = palette.base + palette.header
        segments = [Segment(" ", style)]
        for i, cells in self._columns(width - 1):
            column = self.columns[i]
            title = column.title.rjust(cells) if column.align == "right" else column.title.ljust(cells)
            segments += [Segment(title, style), Segment("  ", style)]
        return strip_of(segments, width, style)
