"""The line that says which past is shown, and where it lies in what is retained."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from dynamo_tui.tui import figures
from dynamo_tui.tui.source import TimedSource
from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.paint import line, palette_of

MIN_BAR = 10


class TimeBar(Widget):
    """Shown while a past is. `━` lies behind, `─` ahead, `✗` marks what failed."""

    DEFAULT_CSS = """
    TimeBar { height: 1; display: none; background: $background; }
    TimeBar.-shown { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._key: object = None
        self._source: TimedSource | None = None
        self._present: float | None = None

    def show(self, source: TimedSource | None, present: float | None) -> None:
        """Show where a source's clock stands; None hides the line. `present`: the time now, of a daemon's past."""
        self._source, self._present = source, present
        self.set_class(source is not None, "-shown")
        key = (
            None
            if source is None
            else (int(source.clock.now()), int(present or 0), source.clock.playing, source.notice)
        )
        if key != self._key:
            self._key = key
            self.refresh()

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self._runs(self.size.width))

    def _runs(self, width: int) -> list[Run]:
        source = self._source
        if source is None:
            return []
        clock = source.clock
        now = clock.now()
        reference = clock.end if self._present is None else self._present
        where = f" {'▶' if clock.playing else '‖'} {figures.moment(now, reference)}"
        if self._present is None:
            ago = f"  {_elapsed(now - clock.start)} of {_elapsed(clock.end - clock.start)}  "
        else:
            ago = f", {figures.span(self._present - now)} ago  "
        start, end = figures.moment(clock.start, reference) + " ", " " + figures.moment(clock.end, reference)
        notice = f"  {source.notice}" if source.notice else ""
        room = width - sum(cell_len(t) for t in (where, ago, start, end, notice)) - 1
        if room < MIN_BAR and notice:
            room, notice = room + cell_len(notice), ""
        if room < MIN_BAR:
            return [(where, Tone.WARN), (ago, Tone.MUTED)]
        return [
            (where, Tone.WARN),
            (ago, Tone.MUTED),
            (start, Tone.MUTED),
            *_track(room, clock.start, clock.end, now, source.troubles),
            (end, Tone.MUTED),
            (notice, Tone.WARN),
        ]

    def render_line(self, y: int) -> Strip:
        del y
        width = self.size.width
        return line(self._runs(width), width, palette_of(self))


def _elapsed(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _track(width: int, start: float, end: float, now: float, troubles: Sequence[float]) -> list[Run]:
    """The range in `width` cells."""
    length = max(end - start, 1e-9)

    def cell(t: float) -> int:
        return min(width - 1, max(0, int((t - start) / length * width)))

    here = cell(now)
    cells: list[Run] = [("━", Tone.INFO) if i < here else ("─", Tone.MUTED) for i in range(width)]
    for t in troubles:
        if start <= t <= end:
            cells[cell(t)] = ("✗", Tone.BAD)
    cells[here] = ("█", Tone.WARN)
    return cells
