"""The dashboard: one store, one connection, panes of pages, and a line to type in."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.containers import Vertical
from textual.events import Key
from textual.theme import Theme
from textual.timer import Timer
from textual.widgets import Footer, Label

from dynamo_tui.client.contexts import Context
from dynamo_tui.tui.jobs import JobState
from dynamo_tui.tui.replay import Replay
from dynamo_tui.tui.session import Session
from dynamo_tui.tui.settings import Settings
from dynamo_tui.tui.store import GraphKey, Link, Topic
from dynamo_tui.tui.time_travel import TimeTravel
from dynamo_tui.tui.widgets.prompt import Prompt, Question
from dynamo_tui.tui.widgets.tab_strip import TabStrip
from dynamo_tui.tui.widgets.time_bar import TimeBar
from dynamo_tui.tui.widgets.title_bar import TitleBar

REFRESH_EVERY_S = 0.5
CLOCK_EVERY_S = 2.0
SETTLED_AFTER_S = 3.0
"""By then the first pictures are drawn, and what was imported for them stays."""


def _settle_memory() -> None:
    """Spare the collector what stays for good: looking it through takes 30 ms, and a keystroke has 50."""
    gc.collect()
    gc.freeze()


def _actions() -> type[Provider]:
    from dynamo_tui.tui.palette_commands import Actions

    return Actions


class Dashboard(TimeTravel):
    """The application. It returns an exit code."""

    TITLE = "dynamo"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_actions}
    CSS = """
    Screen { layout: vertical; background: $background; }
    #banner { height: 1; padding: 0 1; display: none; }
    #banner { background: $error; color: $text; text-style: bold; }
    #banner.-shown { display: block; }
    #decks { height: 1fr; }
    Footer { dock: none; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/", id="app.filter"),
        Binding("colon", "command", "Command", key_display=":", id="app.command"),
        Binding("question_mark", "keys", "Keys", key_display="?", id="app.keys"),
        Binding("q", "quit", "Quit", id="app.quit"),
        Binding("escape", "leave_past", "Back to live", priority=True, key_display="esc", id="time.live"),
        Binding("escape,backspace", "back", "Back", key_display="esc", show=False, id="app.back"),
        Binding("1", "panel('graphs')", "Graphs", show=False, id="app.graphs"),
        Binding("2", "panel('graph')", "Graph", show=False, id="app.graph"),
        Binding("3", "panel('logs')", "Logs", show=False, id="app.logs"),
        Binding("4", "panel('kv')", "KV router", show=False, id="app.kv"),
        Binding("5", "panel('metrics')", "Metrics", show=False, id="app.metrics"),
        Binding("6", "panel('gpus')", "GPUs", show=False, id="app.gpus"),
        Binding("7", "panel('events')", "Events", show=False, id="app.events"),
        Binding("8", "panel('builds')", "Builds", show=False, id="app.builds"),
        Binding("9", "panel('jobs')", "Jobs", show=False, id="app.jobs"),
        Binding("C", "contexts", "Contexts", show=False, id="app.contexts"),
        Binding("S", "submit", "Submit a graph", show=False, id="app.submit"),
        Binding("s", "scale", "Scale", id="app.scale"),
        Binding("r", "restart", "Restart", id="app.restart"),
        Binding("d", "drain", "Drain and replace", show=False, id="app.drain"),
        Binding("x", "stop", "Stop/start the graph", show=False, id="app.stop"),
        Binding("D", "remove", "Remove the graph", show=False, id="app.remove"),
        Binding("R", "rollback", "Roll back", show=False, id="app.rollback"),
        Binding("semicolon", "jump", "Jump to what has a letter", key_display=";", show=False, id="app.jump"),
        Binding("ctrl+t", "new_tab", "New tab", show=False, id="app.new-tab"),
        Binding("ctrl+w", "close", "Close pane or tab", show=False, id="app.close"),
        Binding("right_square_bracket", "tab(1)", "Next tab", key_display="]", show=False, id="app.next-tab"),
        Binding("left_square_bracket", "tab(-1)", "Previous tab", key_display="[", show=False, id="app.previous-tab"),
        Binding("backslash", "split", "Split", key_display="\\", show=False, id="app.split"),
        Binding("ctrl+o", "other_pane", "Other pane", show=False, id="app.other-pane"),
        Binding("ctrl+q", "quit", show=False, id="app.quit-anywhere"),
    ]

    def __init__(
        self,
        context: Context,
        *,
        graph: str | None = None,
        notice: str = "",
        read_only: bool = False,
        now: Callable[[], float] = time.time,
        settings: Settings | None = None,
        replay: Replay | None = None,
    ) -> None:
        super().__init__()
        self.read_only = read_only
        self.jobs = []
        self.notice = notice
        self._now = now
        self._first_graph = graph
        self._settings = settings or Settings()
        self._refresh_timer: Timer | None = None
        self._refreshed_at = 0.0
        self._first = Session(context, self._store_changed, now=now, replay=replay)

    def compose(self) -> ComposeResult:
        yield TitleBar()
        yield TabStrip()
        yield TimeBar()
        yield Vertical(id="decks")
        yield Label(id="banner", markup=False)
        yield Prompt()
        yield Footer(show_command_palette=False, compact=True)

    async def on_mount(self) -> None:
        self._apply_settings()
        self.follow(self._first)
        await self.open_tab()
        if self._first_graph is not None:
            self.open_graph(GraphKey(self.context.project, self._first_graph))
        self.set_interval(CLOCK_EVERY_S, self._tick)
        if not self.is_headless:
            self.set_timer(SETTLED_AFTER_S, _settle_memory)
        self.show_frame()
        if self.notice:
            self.notify(self.notice, timeout=8)

    async def on_unmount(self) -> None:
        for session in self.sessions:
            await session.aclose()

    def _apply_settings(self) -> None:
        """Themes and keys from the user's file; what it names wrongly is said, not fatal."""
        settings = self._settings
        for name, theme in settings.themes.items():
            self.register_theme(Theme(name=name, **theme.colours()))
        if settings.theme in self.available_themes:
            self.theme = settings.theme
        elif settings.theme is not None:
            self.notify(f"there is no theme {settings.theme!r}", severity="warning")
        if settings.keys:
            from dynamo_tui.tui.key_ids import known_key_ids

            if unknown := sorted(set(settings.keys) - known_key_ids()):
                self.notify(f"no key is called {', '.join(unknown)}: docs/dashboard.md lists them", severity="warning")
            self.set_keymap(settings.keys)

    @property
    def session(self) -> Session:
        """What the tab on screen looks at."""
        return self.deck.session if self.decks else self._first

    def session_of(self, context: Context) -> Session:
        """The open session of that context, else a new one."""
        known = next((s for s in self.sessions if s.context == context), None)
        return known or self.follow(Session(context, self._store_changed, now=self._now))

    # -- what is on screen ----------------------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt:
        return self.screen_stack[0].query_one(Prompt)

    def _store_changed(self) -> None:
        """Draw soon, but not more often than twice a second."""
        if self._refresh_timer is None and self.is_running:
            due = self._refreshed_at + REFRESH_EVERY_S - time.monotonic()
            self._refresh_timer = self.set_timer(max(0.01, due), self._refresh_views)

    def _refresh_views(self) -> None:
        self._refresh_timer = None
        self._refreshed_at = time.monotonic()
        if not self.screen_stack:
            return  # the application is closing
        for session in self.sessions:
            changed = session.store.take_changes()
            if session is self.session:
                self._show(changed)

    def _show(self, changed: frozenset[Topic]) -> None:
        for view in self.views:
            if view.is_mounted and (wanted := changed & view.listens):  # one that is being made shows all by itself
                view.update_view(wanted)
        self.show_frame()

    def _tick(self) -> None:
        if self.screen_stack and self.store.link is not Link.CONNECTING:
            self._show(frozenset({Topic.CLOCK}))

    def show_frame(self) -> None:
        """The title and the banner."""
        if not self.decks or not self.pane.stack:
            return
        view = self.view
        notes = [self.tab_note] if self.tab_note else []
        if running := sum(job.state is JobState.RUNNING for job in self.jobs):
            notes.append(f"◐ {running} running")
        if view.filter:
            notes.append(f"/{view.filter}")
        session = self.session
        if self.read_only and session.travel is None:
            notes.append("read-only")
        base = self.screen_stack[0]
        if not base.query(TimeBar):
            return  # the application is closing: its widgets go one by one
        base.query_one(TimeBar).show(session.travel, session.present() if session.in_past else None)
        if not self.is_settling:
            for pane in self.deck.panes:
                pane.show_time(session.now() if session.travel is not None else None)
        base.query_one(TitleBar).show(view.crumbs, notes, self.store, self.context.name)
        self.show_tabs()
        banner = base.query_one("#banner", Label)
        lost = self.store.link is Link.LOST
        if lost:
            banner.update(f"disconnected, showing what was known: {self.store.link_message}")
        banner.set_class(lost, "-shown")

    # -- typing ---------------------------------------------------------------------------------------------

    def ask(
        self,
        label: str,
        on_submit: Callable[[str], object],
        *,
        value: str = "",
        hint: str = "",
        complete: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        """Ask for a line of text; `on_submit` may be a coroutine function. `esc` asks no more."""
        view = self.view

        def submitted(text: str) -> None:
            view.focus_main()
            answer = on_submit(text)
            if isinstance(answer, Awaitable):
                self.run_worker(answer, group="answers")

        self.prompt.ask(
            Question(
                f"{label}: ",
                submitted,
                on_cancel=view.focus_main,
                value=value,
                hint=hint,
                complete=complete,
                history=label,
            )
        )

    def on_key(self, event: Key) -> None:
        """Letters typed faster than the focus moves were sent to the page: they belong to the open prompt."""
        if self.prompt.is_open and event.is_printable and event.character is not None:
            event.stop()
            self.prompt.input.insert_text_at_cursor(event.character)

    async def action_back(self) -> None:
        if self.prompt.is_open:
            self.prompt.action_cancel()
            return
        if self.view.filter:
            self.view.set_filter("")
            self.view.submit_filter("")
            self.show_frame()
            return
        await self.pane.pop()
        self.show_frame()

    def action_filter(self) -> None:
        view = self.view
        before = view.filter

        def submitted(text: str) -> None:
            view.set_filter(text)
            view.focus_main()
            view.submit_filter(text)
            self.show_frame()

        def cancelled() -> None:
            view.set_filter(before)
            view.focus_main()

        self.prompt.ask(
            Question("/", submitted, view.set_filter, cancelled, value=before, hint=view.filter_hint, history="/")
        )

    def action_command(self, value: str = "") -> None:
        from dynamo_tui.tui import commands

        self.prompt.ask(
            Question(
                ":",
                self.run_command,
                on_cancel=self.view.focus_main,
                complete=lambda line: commands.complete(self, line),
                value=value,
                hint="tab completes, up recalls",
                history=":",
            )
        )

    def run_command(self, line: str) -> None:
        """Carry out a `:` command."""
        from dynamo_tui.tui import commands

        self.view.focus_main()
        commands.run(self, line)

    def action_keys(self) -> None:
        from dynamo_tui.tui.dialogs.keys import Help, help_lines

        self.push_screen(Help(help_lines(self, self.screen)))
