"""The part of the application that shows another time: a daemon's past, or a recording's."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import ClassVar, Literal

from textual.binding import Binding, BindingType
from textual.timer import Timer

from dynamo_tui.client.errors import ClientError
from dynamo_tui.tui import figures
from dynamo_tui.tui.navigation import Navigation
from dynamo_tui.tui.past import read_past
from dynamo_tui.tui.session import Session
from dynamo_tui.tui.widgets.prompt import Prompt

SETTLE_S = 0.15
"""The pages are asked for once the clock has not been set again for so long: a key that is held down asks once."""
_STEPS = frozenset({"step", "go_to_end", "leave_past"})
"""Actions whose keys mean something else on the pages of the present."""


class TimeTravel(Navigation):
    """`t` and the keys of the time bar. While a past is shown, the arrows move through it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "t", "time_travel", "Time travel: start, end; in a recording: stop, go on", show=False, id="time.travel"
        ),
        Binding("left", "step(-10)", "10 s back", priority=True, key_display="←", id="time.back-10"),
        Binding("right", "step(10)", "10 s on", priority=True, key_display="→", id="time.on-10"),
        Binding("shift+left", "step(-60)", "A minute back", priority=True, show=False, id="time.back-60"),
        Binding("shift+right", "step(60)", "A minute on", priority=True, show=False, id="time.on-60"),
        Binding("ctrl+left", "step(-600)", "Ten minutes back", priority=True, show=False, id="time.back-600"),
        Binding("ctrl+right", "step(600)", "Ten minutes on", priority=True, show=False, id="time.on-600"),
        Binding("home", "go_to_end('start')", "Oldest", priority=True, show=False, id="time.start"),
        Binding("end", "go_to_end('end')", "Newest", priority=True, show=False, id="time.end"),
        Binding("comma", "travel(-10)", "10 s back", key_display=",", show=False, id="app.back-10"),
        Binding("full_stop", "travel(10)", "10 s on", key_display=".", show=False, id="app.on-10"),
        Binding("less_than_sign", "travel(-60)", "A minute back", key_display="<", show=False, id="app.back-60"),
        Binding("greater_than_sign", "travel(60)", "A minute on", key_display=">", show=False, id="app.on-60"),
        Binding(
            "left_curly_bracket", "travel(-600)", "Ten minutes back", key_display="{", show=False, id="app.back-600"
        ),
        Binding("right_curly_bracket", "travel(600)", "Ten minutes on", key_display="}", show=False, id="app.on-600"),
        Binding(
            "left_parenthesis", "trouble(-1)", "What failed before", key_display="(", show=False, id="app.trouble-back"
        ),
        Binding(
            "right_parenthesis", "trouble(1)", "What failed next", key_display=")", show=False, id="app.trouble-on"
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._settling: Timer | None = None

    @property
    def is_settling(self) -> bool:
        """The clock was set and the pages still show the time before."""
        return self._settling is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The arrows belong to the pages, and to what is typed, unless a past is shown."""
        if action not in _STEPS:
            return super().check_action(action, parameters)
        if not self.decks or len(self.screen_stack) > 1 or self.screen_stack[0].query_one(Prompt).is_open:
            return False
        session = self.session
        return session.in_past if action == "leave_past" else session.travel is not None

    # -- entering and leaving -------------------------------------------------------------------------------

    def action_time_travel(self) -> None:
        """Show the past, or the present again; stop or go on with a recording."""
        replay = self.session.replay
        if replay is not None:
            replay.clock.pause(replay.clock.playing)
            self.show_frame()
        elif self.session.in_past:
            self.action_leave_past()
        else:
            self._enter(self.session.present())

    def action_leave_past(self) -> None:
        session = self.session
        if session.in_past:
            session.travel = None
            self._anew(session)

    def _enter(self, t: float) -> None:
        """Show a daemon's past."""
        self.run_worker(self._enter_past(self.session, t), group="time-travel", exclusive=True)

    async def _enter_past(self, session: Session, t: float) -> None:
        if session.live is None:
            return
        try:
            past = await read_past(session.live, session.present())
        except ClientError as error:
            self.notify(str(error), title="time travel", severity="error")
            return
        past.clock.set(t)
        session.travel = past
        self._anew(session)

    # -- moving ---------------------------------------------------------------------------------------------

    def action_travel(self, seconds: float) -> None:
        """Move so far through the past; from the present, into it."""
        if self.session.travel is not None:
            self.action_step(seconds)
        elif seconds < 0:
            self._enter(self.session.present() + seconds)

    def go_to(self, t: float) -> None:
        """Show that time, in seconds since the epoch."""
        if self.session.travel is not None:
            self._set_clock(t)
        else:
            self._enter(t)

    def action_step(self, seconds: float) -> None:
        if (travel := self.session.travel) is not None:
            self._set_clock(travel.clock.now() + seconds)

    def action_go_to_end(self, which: Literal["start", "end"]) -> None:
        if (travel := self.session.travel) is not None:
            self._set_clock(travel.clock.start if which == "start" else travel.clock.end)

    def action_trouble(self, by: int) -> None:
        """Go to the nearest failure before or after."""
        travel = self.session.travel
        if travel is None:
            self.notify("t goes into the past; ( and ) then find what failed")
            return
        now, troubles = travel.clock.now(), travel.troubles
        index = bisect_left(troubles, now) - 1 if by < 0 else bisect_right(troubles, now)
        if 0 <= index < len(troubles):
            self._set_clock(troubles[index])
        else:
            self.notify(f"nothing failed {'before' if by < 0 else 'after'} {figures.clock(now)}")

    def _set_clock(self, t: float) -> None:
        session = self.session
        if session.travel is None:
            return
        session.travel.clock.set(t)
        if self._settling is not None:
            self._settling.stop()
        self._settling = self.set_timer(SETTLE_S, lambda: self._anew(session))
        self.show_frame()

    def _anew(self, session: Session) -> None:
        """Show everything of a session as it is at the time that it shows."""
        if self._settling is not None:
            self._settling.stop()
            self._settling = None
        pages = [p for deck in self.decks if deck.session is session for pane in deck.panes for p in pane.stack]
        shown = [page for page in pages if page.is_shown]
        for page in shown:
            page.hidden()
        for page in pages:
            page.forget()
        self.start_afresh(session)
        for page in shown:
            page.shown()
        self.show_frame()
        self.refresh_bindings()
