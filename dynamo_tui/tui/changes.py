"""The part of the application that changes things: it says what will happen, asks, and does it."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from textual.app import App
from textual.notifications import SeverityLevel

from dynamo_tui.client import calls
from dynamo_tui.client.contexts import Context
from dynamo_tui.client.errors import ClientError, Conflict
from dynamo_tui.tui.jobs import Job, JobState
from dynamo_tui.tui.operations import NotPossible, Operation, Operations
from dynamo_tui.tui.screens.base import View
from dynamo_tui.tui.session import Session
from dynamo_tui.tui.source import Source
from dynamo_tui.tui.store import GraphKey, Store
from dynamod.schema import Plan

if TYPE_CHECKING:
    from dynamo_tui.cli.exits import CliError
    from dynamo_tui.tui.screens.plan import PlanView
    from dynamo_tui.tui.submit_form import Form

STALE = "stale-plan"
DRAW_EVERY_S = 0.2
GONE_STALE = "the graph has changed meanwhile, and nothing was done; planned anew:"


class Changes(App[int]):
    """Actions on the graph that the page is about. The dashboard fills in the rest."""

    read_only: bool
    jobs: list[Job]

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

    def refused(self) -> bool:
        """Whether nothing can be changed from here, which is then said."""
        if self.refusal:
            self.notify(self.refusal, severity="warning")
        return bool(self.refusal)

    def confirm(self, operation: Operation) -> None:
        """Say what would happen, ask, and do it."""
        if not self.refused():
            self.run_worker(self._confirm(operation, self.session), group="operations")

    async def _confirm(self, operation: Operation, session: Session) -> None:
        from dynamo_tui.tui.dialogs.confirm import Confirm

        note = ""
        while True:
            plan = await self._planned(operation, session)
            if plan is None and operation.plan is not None:
                return
            answer = await self.push_screen_wait(Confirm(operation, plan, note))
            if answer == "page" and plan is not None:
                self.open_plan(operation, plan, session)
            if answer != "yes":
                return
            if operation.job:
                self.start_job(Job(operation.job, session.context, now=session.present))
                self.notify(operation.done)
                return
            if await self._send(operation, session, plan) != "stale":
                return
            note = GONE_STALE

    async def _send(
        self, operation: Operation, session: Session, plan: Plan | None
    ) -> Literal["done", "stale", "failed"]:
        """Have an operation carried out as planned, or as it says; what came of it is told, but for a stale plan."""
        try:
            if plan is not None:
                await session.client.send(calls.apply_plan(plan.id))
            elif operation.call is not None:
                await session.client.send(operation.call)
        except ClientError as error:
            if isinstance(error, Conflict) and error.problem.type.rpartition(":")[2] == STALE:
                return "stale"
            self._tell(operation, error)
            return "failed"
        self.notify(operation.done)
        return "done"

    async def _planned(self, operation: Operation, session: Session) -> Plan | None:
        """The daemon's plan; None where there is none, which has been said."""
        from dynamo_tui.cli.exits import CliError

        if operation.plan is None:
            return None
        try:
            return await operation.plan(session.client)
        except (ClientError, CliError) as error:
            self._tell(operation, error)
            return None

    def _tell(self, operation: Operation, error: ClientError | CliError) -> None:
        remedy = f"\n{error.remedy}" if error.remedy else ""
        self.notify(f"{error}{remedy}", title=operation.title, severity="error", timeout=10)

    # -- commands that take a while ------------------------------------------------------------------------

    @abstractmethod
    def show_jobs(self) -> None:
        """Draw what commands print, where that is on screen."""

    @abstractmethod
    def open_jobs(self) -> None:
        """Show the commands that take a while."""

    def start_job(self, job: Job) -> None:
        """Run a command beside the dashboard, and show it."""
        self.jobs.append(job)
        self.run_worker(self._run_job(job), group="jobs")
        self.open_jobs()

    async def _run_job(self, job: Job) -> None:
        drawn = 0.0

        def told() -> None:
            nonlocal drawn
            if job.state is not JobState.RUNNING or time.monotonic() > drawn + DRAW_EVERY_S:
                drawn = time.monotonic()
                self.show_jobs()

        await job.run(told)
        severity: SeverityLevel = "error" if job.state is JobState.FAILED else "information"
        last = job.lines[-1] if job.lines else ""
        self.notify(f"{job.state}: {last}", title=job.command, severity=severity)

    # -- the page of a plan ---------------------------------------------------------------------------------

    @abstractmethod
    def open_plan(self, operation: Operation, plan: Plan, session: Session) -> None:
        """Show what an operation would do, on a page of its own, in a tab that looks at that session."""

    @abstractmethod
    async def leave(self, view: View) -> None:
        """Take a page away, and show the graph that it was about."""

    def show_plan(self, operation: Operation) -> None:
        """Have an operation planned, and show that."""
        self.run_worker(self._show_plan(operation, self.session), group="operations")

    async def _show_plan(self, operation: Operation, session: Session) -> None:
        if (plan := await self._planned(operation, session)) is not None:
            self.open_plan(operation, plan, session)

    def plan_again(self, view: PlanView, note: str = "") -> None:
        self.run_worker(self._plan_again(view, note), group="operations")

    async def _plan_again(self, view: PlanView, note: str) -> None:
        plan = await self._planned(view.operation, view.session)
        if plan is not None and view.is_mounted:
            view.show(plan, note)

    def apply_from(self, view: PlanView) -> None:
        """Apply the plan that a page shows; one that has gone stale is made anew and shown instead."""
        if not self.refused():
            self.run_worker(self._apply_from(view), group="operations")

    async def _apply_from(self, view: PlanView) -> None:
        sent = await self._send(view.operation, view.session, view.plan)
        if sent == "stale":
            await self._plan_again(view, GONE_STALE)
        elif sent == "done":
            await self.leave(view)

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

    def action_drain(self) -> None:
        view = self.view
        self._offer(lambda key: self.operations.drain(key, None if view.replica_id else view.service, view.replica_id))

    @abstractmethod
    def open_submit(self, form: Form | None = None) -> None:
        """Show the form of a submit."""

    def action_submit(self) -> None:
        if not self.refused():
            self.open_submit()

    def submit(self, words: list[str]) -> None:
        """Show what a submit would do, on a page from which it can be applied."""
        import click

        from dynamo_tui.tui import planning

        try:
            operation = planning.submit(words, self.context)
        except click.ClickException as error:
            self.notify(error.format_message(), title=":submit", severity="warning")
            return
        self.notify(f"inspecting {words[0]} …")
        self.show_plan(operation)
