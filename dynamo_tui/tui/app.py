"""The dashboard: one store, one connection, panes of pages, and a line to type in."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.timer import Timer
from textual.widgets import Footer, Label

from dynamo_tui.client.aio import AsyncClient
from dynamo_tui.client.contexts import Context
from dynamo_tui.tui.changes import Changes
from dynamo_tui.tui.connection import Connection
from dynamo_tui.tui.screens.base import View
from dynamo_tui.tui.screens.graphs import GraphsView
from dynamo_tui.tui.store import GraphKey, Link, Store, Topic
from dynamo_tui.tui.widgets.pane import Pane
from dynamo_tui.tui.widgets.prompt import Prompt, Question
from dynamo_tui.tui.widgets.title_bar import TitleBar

REFRESH_EVERY_S = 0.5
CLOCK_EVERY_S = 2.0


def _actions() -> type[Provider]:
    from dynamo_tui.tui.palette_commands import Actions

    return Actions


class Dashboard(Changes):
    """The application. It returns an exit code."""

    TITLE = "dynamo"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_actions}
    CSS = """
    Screen { layout: vertical; background: $background; }
    #banner { height: 1; padding: 0 1; display: none; }
    #banner { background: $error; color: $text; text-style: bold; }
    #banner.-shown { display: block; }
    Footer { dock: none; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/", id="app.filter"),
        Binding("colon", "command", "Command", key_display=":", id="app.command"),
        Binding("question_mark", "keys", "Keys", key_display="?", id="app.keys"),
        Binding("q", "quit", "Quit", id="app.quit"),
        Binding("escape,backspace", "back", "Back", key_display="esc", show=False, id="app.back"),
        Binding("1", "panel('graphs')", "Graphs", show=False, id="app.graphs"),
        Binding("2", "panel('graph')", "Graph", show=False, id="app.graph"),
        Binding("3", "panel('logs')", "Logs", show=False, id="app.logs"),
        Binding("4", "panel('kv')", "KV router", show=False, id="app.kv"),
        Binding("5", "panel('metrics')", "Metrics", show=False, id="app.metrics"),
        Binding("6", "panel('gpus')", "GPUs", show=False, id="app.gpus"),
        Binding("7", "panel('events')", "Events", show=False, id="app.events"),
        Binding("s", "scale", "Scale", id="app.scale"),
        Binding("r", "restart", "Restart", id="app.restart"),
        Binding("x", "stop", "Stop/start the graph", show=False, id="app.stop"),
        Binding("D", "remove", "Remove the graph", show=False, id="app.remove"),
        Binding("R", "rollback", "Roll back", show=False, id="app.rollback"),
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
    ) -> None:
        super().__init__()
        self.context = context
        self.read_only = read_only
        self.notice = notice
        self.now = now
        self._first_graph = graph
        self.store = Store(self._store_changed)
        self.client = AsyncClient(context)
        self.connection = Connection(self.client, self.store, now)
        self._refresh_timer: Timer | None = None
        self._refreshed_at = 0.0

    def compose(self) -> ComposeResult:
        yield TitleBar()
        yield Pane()
        yield Label(id="banner", markup=False)
        yield Prompt()
        yield Footer(show_command_palette=False, compact=True)

    async def on_mount(self) -> None:
        await self.pane.reset(GraphsView())
        if self._first_graph is not None:
            self.open_graph(GraphKey(self.context.project, self._first_graph))
        self.run_worker(self.connection.run(), group="connection", exit_on_error=True)
        self.set_interval(CLOCK_EVERY_S, self._tick)
        self._show_frame()
        if self.notice:
            self.notify(self.notice, timeout=8)

    async def on_unmount(self) -> None:
        await self.client.aclose()

    # -- what is on screen ----------------------------------------------------------------------------------

    @property
    def pane(self) -> Pane:
        return self.screen_stack[0].query_one(Pane)

    @property
    def view(self) -> View:
        return self.pane.view

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
        self._show(self.store.take_changes())

    def _show(self, changed: frozenset[Topic]) -> None:
        if not self.pane.stack:
            return
        if wanted := changed & self.view.listens:
            self.view.update_view(wanted)
        self._show_frame()

    def _tick(self) -> None:
        if Topic.CLOCK in self.view.listens and self.store.link is not Link.CONNECTING:
            self.view.update_view(frozenset({Topic.CLOCK}))

    def _show_frame(self) -> None:
        """The title and the banner."""
        view = self.view
        notes = [f"/{view.filter}"] if view.filter else []
        if self.read_only:
            notes.append("read-only")
        base = self.screen_stack[0]
        base.query_one(TitleBar).show(view.crumbs, notes, self.store, self.context.name)
        banner = base.query_one("#banner", Label)
        lost = self.store.link is Link.LOST
        if lost:
            banner.update(f"disconnected, showing what was known: {self.store.link_message}")
        banner.set_class(lost, "-shown")

    # -- going places ---------------------------------------------------------------------------------------

    def go(self, view: View) -> None:
        """Put a page on top."""
        self.run_worker(self._go(self.pane.push(view)), group="navigation")

    async def _go(self, step: Awaitable[object]) -> None:
        await step
        self._show_frame()

    def open_graph(self, key: GraphKey) -> None:
        from dynamo_tui.tui.screens.graph import GraphView

        self.go(GraphView(key))

    def open_logs(self, key: GraphKey, *, service: str | None = None, replica: str | None = None) -> None:
        from dynamo_tui.tui.screens.logs import LogsView

        self.go(LogsView(key, service=service, replica=replica))

    def open_kv(self, key: GraphKey) -> None:
        from dynamo_tui.tui.screens.kv import KvView

        self.go(KvView(key))

    def open_replica(self, key: GraphKey, replica: str) -> None:
        from dynamo_tui.tui.screens.replica import ReplicaView

        self.go(ReplicaView(key, replica))

    def open_metrics(self, key: GraphKey) -> None:
        from dynamo_tui.tui.screens.metrics import MetricsView

        self.go(MetricsView(key))

    async def action_back(self) -> None:
        if self.prompt.is_open:
            self.prompt.action_cancel()
            return
        if self.view.filter:
            self.view.set_filter("")
            self.view.submit_filter("")
            self._show_frame()
            return
        await self._go(self.pane.pop())

    def action_panel(self, name: str) -> None:
        """A number key: that page, of the graph at hand."""
        match name:
            case "graphs":
                self.run_worker(self._go(self.pane.reset(GraphsView())), group="navigation")
                return
            case "gpus":
                from dynamo_tui.tui.screens.gpus import GpusView

                self.go(GpusView())
                return
            case "events":
                from dynamo_tui.tui.screens.events import EventsView

                self.go(EventsView())
                return
        key = self.view.graph_key or next(iter(sorted(self.store.graphs)), None)
        if key is None:
            self.notify("there is no graph yet")
            return
        match name:
            case "graph":
                self.open_graph(key)
            case "logs":
                self.open_logs(key, service=self.view.service)
            case "kv":
                self.open_kv(key)
            case "metrics":
                self.open_metrics(key)

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

    def action_filter(self) -> None:
        view = self.view
        before = view.filter

        def submitted(text: str) -> None:
            view.set_filter(text)
            view.focus_main()
            view.submit_filter(text)
            self._show_frame()

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
