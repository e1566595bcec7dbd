"""Millions of log lines on a few rows: draws only what is visible, out of a bounded buffer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from dynamo_tui.tui.figures import count, precise_clock
from dynamo_tui.tui.line_buffer import Entry, LineBuffer
from dynamo_tui.tui.tones import Palette, Tone, level_tone, series_tone
from dynamo_tui.tui.widgets.paint import palette_of, strip_of
from dynamod.schema import LogGap, LogLine

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")
_OWN_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ")
"""How lines of `dynamo.runtime.logging` begin."""
SAME_TIME_S = 1.0
"""A line's own time within so much of the time at which it was read is the same time, said twice."""
SIDE_STEP = 8


def plain(text: str) -> str:
    """The text without escape sequences and control characters, which would draw outside their line."""
    return _CONTROL.sub("", text.expandtabs(4))


def without_own_time(text: str, t: float) -> str:
    """The text without the time stamp that it begins with, where that says the same as `t`."""
    match = _OWN_TIME.match(text)
    if match is None:
        return text
    try:
        own = datetime.fromisoformat(match.group(1)).timestamp()
    except ValueError:
        return text  # looks like a time, and is none
    return text[match.end() :] if abs(own - t) <= SAME_TIME_S else text


class LogView(Widget, can_focus=True):
    DEFAULT_CSS = """
    LogView { height: 1fr; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="log.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="log.down"),
        Binding("pageup,b,ctrl+b", "page(-1)", "Page up", show=False, id="log.page-up"),
        Binding("pagedown,space,ctrl+f", "page(1)", "Page down", show=False, id="log.page-down"),
        Binding("ctrl+u,u", "half(-1)", "Half a page up", show=False, id="log.half-up"),
        Binding("ctrl+d,d", "half(1)", "Half a page down", show=False, id="log.half-down"),
        Binding("home,g", "first", "First line", show=False, id="log.first"),
        Binding("end,G", "last", "Last line", show=False, id="log.last"),
        Binding("left,h", "side(-1)", "Left", show=False, id="log.left"),
        Binding("right", "side(1)", "Right", show=False, id="log.right"),
    ]

    class ReachedTop(Message):
        """The oldest line held is on screen and an older one is wanted."""

    class StateChanged(Message):
        """Following, or the place in the log, changed."""

    def __init__(self, buffer: LineBuffer, label: Callable[[LogLine], str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.buffer = buffer
        self.label = label
        self.following = True
        self.wrap = False
        self.show_time = True
        self.show_source = True
        self.marks: set[int] = set()
        self.cursor = 0
        self._top = 0
        self._left = 0
        self._direction = 1
        self._find: re.Pattern[str] | None = None
        self._tones: dict[str, Tone] = {}
        self._rows: list[tuple[int, int]] | None = None  # (line number, cells of its text before this row)

    # -- what the owner does --------------------------------------------------------------------------------

    def lines_added(self) -> None:
        """The buffer has grown: draw again where that shows."""
        held_below = self._rows is not None and len(self._rows) < self.size.height
        if self.following or held_below or self._top < self.buffer.first:
            self._changed()

    def find(self, pattern: str) -> bool:
        """Highlight a regular expression and go to its next match; False where there is none.

        The search goes on down the log; up, while following, for the newest line is the last. At the
        end it starts anew from the other one.

        Raises:
            re.error: it is not a regular expression.
        """
        self._find = re.compile(pattern, re.IGNORECASE) if pattern else None
        self._changed()
        if self._find is None:
            return True
        self._direction = -1 if self.following else 1
        return self.seek(self._matches, self._direction, include_current=True) or self._seek_around(self._direction)

    def _seek_around(self, step: int) -> bool:
        """Search the whole log, from its far end."""
        start = self.buffer.first if step > 0 else self.buffer.end - 1
        number = next((n for n, entry in self.buffer.numbered(start, step) if self._matches(entry)), None)
        if number is not None:
            self.go_to(number)
        return number is not None

    def seek(self, wanted: Callable[[Entry], bool], step: int, *, include_current: bool = False) -> bool:
        """Put the cursor on the next line that is wanted, in the direction of `step`."""
        start = self.buffer.end - 1 if self.following else self.cursor
        if not include_current and not self.following:
            start += step
        if not self.buffer.first <= start < self.buffer.end:
            return False
        for number, entry in self.buffer.numbered(start, step):
            if wanted(entry):
                self.go_to(number)
                return True
        return False

    def seek_match(self, by: int) -> bool:
        """The next match in the direction of the search (`by` 1) or against it (-1)."""
        step = self._direction * by
        return self._find is not None and (self.seek(self._matches, step) or self._seek_around(step))

    def _matches(self, entry: Entry) -> bool:
        return self._find is not None and isinstance(entry, LogLine) and self._find.search(entry.text) is not None

    @property
    def current(self) -> Entry | None:
        """The line under the cursor; the newest while following."""
        number = self.buffer.end - 1 if self.following else self.cursor
        try:
            return self.buffer[number]
        except IndexError:
            return None

    def follow(self, on: bool) -> None:
        self.following = on
        self.cursor = self.buffer.end - 1
        self._changed()

    def toggle_mark(self) -> None:
        number = self.buffer.end - 1 if self.following else self.cursor
        self.marks ^= {number}
        self._changed()

    def plain_line(self, entry: Entry) -> str:
        """A line as it is copied and saved: time, source and text."""
        if isinstance(entry, LogGap):
            return f"… {count(entry.skipped)} lines skipped"
        return f"{precise_clock(entry.t)} {self.label(entry)} {without_own_time(plain(entry.text), entry.t)}"

    # -- moving ---------------------------------------------------------------------------------------------

    def go_to(self, number: int) -> None:
        """Put the cursor on a line and bring it on screen; stops following."""
        if not len(self.buffer):
            return
        if number < self.buffer.first:
            self.post_message(self.ReachedTop())
        height = max(1, self.size.height)
        if self.following:
            self._top = max(self.buffer.first, self.buffer.end - height)
        self.following = False
        self.cursor = min(max(number, self.buffer.first), self.buffer.end - 1)
        if self.cursor < self._top:
            self._top = self.cursor
        elif self.cursor >= self._top + self._lines_on_screen():
            self._top = self._top_for_bottom(self.cursor, height)
        self._changed()

    def action_move(self, by: int) -> None:
        self.go_to((self.buffer.end - 1 if self.following else self.cursor) + by)

    def action_page(self, by: int) -> None:
        self.action_move(by * max(1, self.size.height - 1))

    def action_half(self, by: int) -> None:
        self.action_move(by * max(1, self.size.height // 2))

    def action_first(self) -> None:
        self.go_to(self.buffer.first)
        self.post_message(self.ReachedTop())

    def action_last(self) -> None:
        self.go_to(self.buffer.end - 1)

    def action_side(self, by: int) -> None:
        self._left = max(0, self._left + by * SIDE_STEP)
        self._changed()

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-3)

    def on_mouse_scroll_down(self) -> None:
        self.action_move(3)

    # -- drawing --------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._rows = None
        self.refresh()
        self.post_message(self.StateChanged())

    def on_resize(self) -> None:
        self._rows = None

    def toggle_time(self) -> None:
        self.show_time = not self.show_time
        self._changed()

    def toggle_wrap(self) -> None:
        self.wrap = not self.wrap
        self._left = 0
        self._changed()

    def _lines_on_screen(self) -> int:
        rows = self._layout()
        return len({number for number, _ in rows}) if self.wrap else max(1, self.size.height)

    def _top_for_bottom(self, number: int, height: int) -> int:
        """The first line to show so that line `number` ends the screen."""
        if not self.wrap:
            return max(self.buffer.first, number - height + 1)
        used, top = 0, number
        for candidate, entry in self.buffer.numbered(number, -1):
            used += len(self._breaks(entry))
            if used > height:
                break
            top = candidate
        return top

    def _layout(self) -> list[tuple[int, int]]:
        if self._rows is not None and self._held(self._rows):
            return self._rows
        height = max(1, self.size.height)
        if self.following:
            self._top = self._top_for_bottom(self.buffer.end - 1, height) if len(self.buffer) else self.buffer.first
        self._top = max(self._top, self.buffer.first)
        rows: list[tuple[int, int]] = []
        for number in range(self._top, min(self.buffer.end, self._top + height)):
            breaks = self._breaks(self.buffer[number]) if self.wrap else [0]
            rows += [(number, start) for start in breaks]
            if len(rows) >= height:
                break
        self._rows = rows[:height]
        return self._rows

    def _held(self, rows: list[tuple[int, int]]) -> bool:
        """Whether the buffer still has these lines: a flood may push them out before they are drawn again."""
        return not rows or (self.buffer.first <= rows[0][0] and rows[-1][0] < self.buffer.end)

    def _lead(self) -> int:
        """Cells before the text: mark, time and source."""
        return 1 + (13 if self.show_time else 0) + (self._source_width + 2 if self.show_source else 0)

    @property
    def _source_width(self) -> int:
        return max((len(s) for s in self._tones), default=8)

    def _breaks(self, entry: Entry) -> list[int]:
        room = max(8, self.size.width - self._lead())
        length = len(self._shown_text(entry)) if isinstance(entry, LogLine) else 1
        return list(range(0, max(1, length), room))

    def _shown_text(self, entry: LogLine) -> str:
        text = plain(entry.text)
        return without_own_time(text, entry.t) if self.show_time else text

    def _tone_of(self, source: str) -> Tone:
        tone = self._tones.get(source)
        if tone is None:
            tone = self._tones[source] = series_tone(len(self._tones))
        return tone

    def render_line(self, y: int) -> Strip:
        palette = palette_of(self)
        width = self.size.width
        rows = self._layout()
        if y >= len(rows):
            return Strip.blank(width, palette.base)
        number, start = rows[y]
        base = palette.base
        if not self.following and number == self.cursor:
            base += palette.cursor if self.has_focus else palette.cursor_idle
        mark = Segment("▸" if number in self.marks else " ", base + palette[Tone.ACCENT])
        entry = self.buffer[number]
        if isinstance(entry, LogGap):
            text = f"… {count(entry.skipped)} lines skipped: they came faster than they could be shown"
            return strip_of([mark, Segment(text, base + palette[Tone.WARN])], width, base)
        return self._line(entry, start, mark, base, palette, width)

    def _line(self, entry: LogLine, start: int, mark: Segment, base: Style, palette: Palette, width: int) -> Strip:
        segments = [mark]
        source = self.label(entry)
        tone = self._tone_of(source)
        first = start == 0
        if self.show_time:
            segments.append(Segment(precise_clock(entry.t) + " " if first else " " * 13, base + palette[Tone.MUTED]))
        if self.show_source:
            shown = source.ljust(self._source_width) if first else " " * self._source_width
            segments += [Segment(shown, base + palette[tone]), Segment("│ ", base + palette[Tone.MUTED])]
        text = self._shown_text(entry)
        if self.wrap:
            text = text[start : start + max(8, width - self._lead())]
        elif self._left:
            text = text[self._left :]
        segments += self._text(text, base + palette[level_tone(entry.level)], palette)
        return strip_of(segments, width, base)

    def _text(self, text: str, style: Style, palette: Palette) -> Sequence[Segment]:
        if self._find is None:
            return [Segment(text, style)]
        segments: list[Segment] = []
        position = 0
        for match in self._find.finditer(text):
            if match.end() > match.start():
                segments.append(Segment(text[position : match.start()], style))
                segments.append(Segment(match.group(), style + palette.match))
                position = match.end()
        segments.append(Segment(text[position:], style))
        return [s for s in segments if s.text]

    @property
    def place(self) -> str:
        """Where in the log the screen stands, e.g. `line 1,204 of 20,000`."""
        held = len(self.buffer)
        if not held:
            return "no lines"
        return f"{count(held if self.following else self.cursor - self.buffer.first + 1)} of {count(held)}"

    def visible_text(self) -> str:
        """What is on screen, as plain text."""
        return "\n".join(self.plain_line(self.buffer[number]) for number, start in self._layout() if start == 0)
