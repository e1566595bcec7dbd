"""The part of the application that changes things: it says what will happen, asks, and does it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

from textual.app import App

from dynamo_tui.client import calls
from dynamo_tui.client.contexts import Context
from dynamo_tui.client.errors import ClientError
from dynamo_tui.tui.operations import NotPossible, Operation, Operations
from dynamo_tui.tui.screens.base import View
from dynamo_tui.tui.session import Session
from dynamo_tui.tui.source import Source
from dynamo_tui.tui.store import GraphKey, Store


class Changes(App[int]):
    """Actions on the graph that the page is about. The dashboard fills in the rest."""

    read_only: bool

    @property
    @abstractmethod
    def session(self) -> Session:
        """What the tab on screen looks at."""

    @property
    def store(self) -> Store:
        return self.session.store

    @property
    def client(self) -> Source:
        return self.session.client

    @property
    def context(self) -> Context:
        return self.session.context

    @property
    @abstractmethod
    def view(self) -> View:
        """The page that the keyboard is on."""

    @abstractmethod
    def ask(
        self,
        label: str,
        on_submit: Callable[[str], object],
        *,
        value: str = "",
        hint: str = "",
        complete: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        """Ask for a line of text."""

    @abstractmethod
    def run_command(self, line: str) -> None:
        """Carry out a `:` command."""

    @abstractmethod
    def action_command(self, value: str = "") -> None:
        """Ask for a `:` command."""

    @property
    def operations(self) -> Operations:
        return Operations(self.store, self.context.name)

    @property
    def refusal(self) -> str:
        """Why nothing can be changed from here; empty where it can."""
        if self.session.in_past:
            return "this is the past: t goes back to live, where things can be changed"
        return "this dashboard is read-only" if self.read_only else ""

    def confirm(self, operation: Operation) -> None:
        """Say what would happen, ask, and do it."""
        from dynamo_tui.tui.dialogs.confirm import Confirm

        if self.refusal:
            self.notify(self.refusal, severity="warning")
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._carry_out(operation), group="operations")

        self.push_screen(Confirm(operation), answered)

    async def _carry_out(self, operation: Operation) -> None:
        try:
            await self.client.send(operation.call)
        except ClientError as error:
            remedy = f"\n{error.remedy}" if error.remedy else ""
            self.notify(f"{error}{remedy}", title=operation.title, severity="error", timeout=10)
        else:
            self.notify(operation.done)

    def _offer(self, make: Callable[[GraphKey], Operation]) -> None:
        key = self.view.graph_key
        if key is None:
            self.notify("which graph? put the cursor on it")
            return
        try:
            self.confirm(make(key))
        except NotPossible as error:
            self.notify(str(error), severity="warning")

    def action_scale(self) -> None:
        key, service = self.view.graph_key, self.view.service
        graph = self.store.graphs.get(key) if key else None
        if key is None or graph is None:
            self.notify("which graph? put the cursor on it")
            return
        if service is None:
            self.action_command("scale ")
            return
        desired = next((s.desired for s in graph.services if s.name == service), 0)
        self.ask(f"scale {service} to", lambda text: self.run_command(f"scale {service}={text}"), value=str(desired))

    def action_restart(self) -> None:
        view = self.view
        self._offer(
            lambda key: self.operations.restart(key, None if view.replica_id else view.service, view.replica_id)
        )

    def action_stop(self) -> None:
        self._offer(self.operations.stop_or_start)

    def action_remove(self) -> None:
        self._offer(self.operations.remove)

    def action_rollback(self) -> None:
        self._offer(self.operations.rollback)

    def plan(self, words: list[str]) -> None:
        """Show what a submit would do, and do it when that is wanted."""
        self.run_worker(self._plan(words), group="operations")

    async def _plan(self, words: list[str]) -> None:
        import click

        from dynamo_tui.cli.exits import CliError
        from dynamo_tui.tui import planning
        from dynamo_tui.tui.dialogs.confirm import Report

        try:
            source = planning.parse(words)
            self.notify(f"inspecting {source.target} …")
            plan = await planning.make_plan(self.client, source, self.context.project)
            report = Report(
                f"Plan for {plan.graph}",
                planning.lines_of(plan),
                question="" if plan.is_empty else "apply it",
                command=planning.command_of(words),
            )
            if await self.push_screen_wait(report):
                graph = await self.client.send(calls.apply_plan(plan.id))
                self.notify(f"{graph.name}: revision {graph.revision} is being rolled out")
        except click.ClickException as error:
            self.notify(error.format_message(), title=":submit", severity="warning")
        except (ClientError, CliError) as error:
            self.notify(str(error), title=":submit", severity="error", timeout=10)
