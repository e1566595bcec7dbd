"""The part of the application that goes places: pages, tabs, split panes, and the daemons that tabs look at."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from textual import on
from textual.containers import Vertical
from textual.worker import Worker

from dynamo_tui.client.contexts import Context, choose
from dynamo_tui.client.errors import ClientError
from dynamo_tui.tui.changes import Changes
from dynamo_tui.tui.operations import Operation
from dynamo_tui.tui.screens.base import Feed, View
from dynamo_tui.tui.screens.graphs import GraphsView
from dynamo_tui.tui.session import Session
from dynamo_tui.tui.store import GraphKey
from dynamo_tui.tui.widgets.deck import Deck
from dynamo_tui.tui.widgets.pane import Pane
from dynamo_tui.tui.widgets.tab_strip import TabStrip
from dynamod.schema import Plan

if TYPE_CHECKING:
    from dynamo_tui.tui.log_feed import LogPart
    from dynamo_tui.tui.submit_form import Form


class Navigation(Changes):
    """Pages on stacks in panes, panes in tabs."""

    def __init__(self) -> None:
        super().__init__()
        self.decks: list[Deck] = []
        self._tab = 0
        self._followed: dict[Session, Worker[Any]] = {}

    @abstractmethod
    def show_frame(self) -> None:
        """Draw what surrounds the pages."""

    @abstractmethod
    def session_of(self, context: Context) -> Session:
        """The open session of that context, else a new one."""

    # -- daemons --------------------------------------------------------------------------------------------

    @property
    def sessions(self) -> list[Session]:
        """What the tabs look at, each once."""
        return list(self._followed)

    def follow(self, session: Session) -> Session:
        """Keep a session's picture current, until no tab looks at it any more."""
        feed: Feed = session.connection.run
        self._followed[session] = self.run_worker(feed, group="connection", exit_on_error=True)
        return session

    def start_afresh(self, session: Session) -> None:
        """An empty picture, and a connection that fills it."""
        self._followed[session].cancel()
        session.begin()
        self.follow(session)

    async def switch_context(self, context: Context) -> None:
        """Let this tab look at another daemon: the home page in every pane. Other tabs stay as they are."""
        deck = self.deck
        for pane in deck.panes:
            pane.suspend()
        deck.session = self.session_of(context)
        for pane in deck.panes:
            await pane.reset(GraphsView())
        deck.show()
        await self._close_unused()
        self.show_frame()

    def action_contexts(self) -> None:
        """Choose the daemon that this tab, or a new one, looks at."""
        from dynamo_tui.tui.dialogs.contexts import Contexts, Switch, context_rows

        def answered(switch: Switch | None) -> None:
            if switch is not None:
                self.look_at(switch.name, in_new_tab=switch.where == "tab")

        self.push_screen(Contexts(context_rows(os.environ, self.sessions, self.session)), answered)

    def look_at(self, name: str, *, in_new_tab: bool = False) -> None:
        """Show the daemon of that context; that there is none is said."""
        known = next((s.context for s in self.sessions if s.context.name == name), None)
        try:
            context = known or choose(os.environ, name).context
        except ClientError as error:
            self.notify(str(error), severity="warning")
            return
        self.run_worker(self._look_at(context, in_new_tab), group="contexts", exclusive=True)

    async def _look_at(self, context: Context, in_new_tab: bool) -> None:
        if in_new_tab:
            await self.open_tab()
        if context != self.session.context:
            await self.switch_context(context)

    async def _close_unused(self) -> None:
        used = {deck.session for deck in self.decks}
        for session in [s for s in self._followed if s not in used]:
            self._followed.pop(session).cancel()
            await session.aclose()

    # -- what is on screen ----------------------------------------------------------------------------------

    @property
    def deck(self) -> Deck:
        return self.decks[self._tab]

    @property
    def pane(self) -> Pane:
        return self.deck.pane

    @property
    def view(self) -> View:
        return self.pane.view

    @property
    def views(self) -> list[View]:
        """Every page on screen."""
        return self.deck.views if self.decks else []

    @property
    def tab_note(self) -> str:
        """Which tab this is, where there are several."""
        return f"tab {self._tab + 1}/{len(self.decks)}" if len(self.decks) > 1 else ""

    # -- tabs and panes -------------------------------------------------------------------------------------

    async def open_tab(self) -> None:
        deck = Deck(self.session)
        await self.screen_stack[0].query_one("#decks", Vertical).mount(deck)
        await deck.add(GraphsView())
        if self.decks:
            self.deck.hide()
        self.decks.append(deck)
        self._tab = len(self.decks) - 1
        deck.show()
        self.show_frame()

    async def action_new_tab(self) -> None:
        await self.open_tab()

    def action_tab(self, by: int) -> None:
        self._show_tab((self._tab + by) % len(self.decks))

    def _show_tab(self, index: int) -> None:
        if index != self._tab:
            self.deck.hide()
            self._tab = index
            self.deck.show()
            self.show_frame()

    @on(TabStrip.Chosen)
    def _tab_chosen(self, message: TabStrip.Chosen) -> None:
        if message.index < len(self.decks):
            self._show_tab(message.index)

    def show_tabs(self) -> None:
        names = [" › ".join(deck.pane.view.crumbs[-2:]) for deck in self.decks if deck.panes and deck.pane.stack]
        self.screen_stack[0].query_one(TabStrip).show(names, self._tab)

    def action_jump(self) -> None:
        """Put letters over everything that can be selected, and go where they say."""
        from dynamo_tui.tui.dialogs.jump import Jump
        from dynamo_tui.tui.jumping import targets

        found = targets(self.screen_stack[0].query_one(TabStrip), self.views)
        self.push_screen(Jump(found), lambda target: target.go() if target is not None else None)

    async def action_split(self) -> None:
        await self.deck.add(GraphsView())
        self.show_frame()

    def action_other_pane(self) -> None:
        self.deck.other_pane()
        self.show_frame()

    async def action_close(self) -> None:
        """Close the pane, or the tab that has just one; the last tab stays."""
        if not await self.deck.close_pane() and len(self.decks) > 1:
            deck = self.decks.pop(self._tab)
            deck.hide()
            self._tab = max(0, self._tab - 1)
            self.deck.show()
            await deck.remove()
            await self._close_unused()
        self.show_frame()

    @on(Deck.Switched)
    def _pane_switched(self) -> None:
        self.show_frame()

    # -- pages ----------------------------------------------------------------------------------------------

    def go(self, view: View) -> None:
        """Put a page on top; one that is already on the stack comes back as it was left."""
        self.run_worker(self._go(self.pane.go(view)), group="navigation")

    async def _go(self, step: Awaitable[object]) -> None:
        await step
        self.show_frame()

    def open_graph(self, key: GraphKey) -> None:
        from dynamo_tui.tui.screens.graph import GraphView

        self.go(GraphView(key))

    def open_logs(self, key: GraphKey, *, service: str | None = None, replica: str | None = None) -> None:
        from dynamo_tui.tui.log_feed import LogPart

        self.open_selected_logs([LogPart(key, service, replica)])

    def open_selected_logs(self, parts: Sequence[LogPart]) -> None:
        """The lines of several graphs, services and replicas together."""
        from dynamo_tui.tui.screens.logs import LogsView

        self.go(LogsView(*parts))

    def open_kv(self, key: GraphKey) -> None:
        from dynamo_tui.tui.screens.kv import KvView

        self.go(KvView(key))

    def open_replica(self, key: GraphKey, replica: str) -> None:
        from dynamo_tui.tui.screens.replica import ReplicaView

        self.go(ReplicaView(key, replica))

    def open_metrics(self, key: GraphKey) -> None:
        from dynamo_tui.tui.screens.metrics import MetricsView

        self.go(MetricsView(key))

    def open_plan(self, operation: Operation, plan: Plan, session: Session) -> None:
        from dynamo_tui.tui.screens.plan import PlanView

        if self.session is not session:  # another tab came on screen while it was planned
            tab = next((i for i, deck in enumerate(self.decks) if deck.session is session), None)
            if tab is None:
                return  # nobody looks at that daemon any more
            self.action_tab(tab - self._tab)
        self.go(PlanView(operation, plan))

    def open_submit(self, form: Form | None = None) -> None:
        from dynamo_tui.tui.screens.submit import SubmitView

        self.go(SubmitView(form))

    def open_jobs(self) -> None:
        from dynamo_tui.tui.screens.jobs import JobsView

        self.go(JobsView())

    def show_jobs(self) -> None:
        from dynamo_tui.tui.screens.jobs import JobsView

        for view in self.views:
            if isinstance(view, JobsView):
                view.show_jobs()
        self.show_frame()

    async def leave(self, view: View) -> None:
        key = view.graph_key
        if self.view is view:
            await self.pane.pop()
        if key is not None:
            self.open_graph(key)

    def action_panel(self, name: str) -> None:
        """A number key: that page, of the graph at hand."""
        match name:
            case "graphs":
                self.go(GraphsView())
                return
            case "gpus":
                from dynamo_tui.tui.screens.gpus import GpusView

                self.go(GpusView())
                return
            case "events":
                from dynamo_tui.tui.screens.events import EventsView

                self.go(EventsView())
                return
            case "jobs":
                self.open_jobs()
                return
            case "builds":
                from dynamo_tui.tui.screens.builds import BuildsView

                self.go(BuildsView())
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
