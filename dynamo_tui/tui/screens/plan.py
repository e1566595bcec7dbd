"""A plan before it is applied: its operations with their causes, where each would be placed, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from dynamo_tui.tui import figures, plan_text
from dynamo_tui.tui.operations import Operation
from dynamo_tui.tui.screens.base import View
from dynamo_tui.tui.store import GraphKey
from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.paint import Lines
from dynamo_tui.tui.widgets.table import Column, Table
from dynamod.schema import Plan, PlanOperation


class PlanView(View):
    """Shows what `operation` would do. `plan` is replaced by a new one where it has gone stale."""

    DEFAULT_CSS = """
    PlanView #plan-operations { height: 1fr; min-height: 4; }
    PlanView #plan-scroll { height: 1fr; border-top: solid $panel; border-title-color: $text-muted; }
    PlanView #plan-scroll:focus { border-top: solid $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "apply", "Apply", id="plan.apply"),
        Binding("p", "plan_again", "Plan again", id="plan.again"),
        Binding("tab,enter", "other_part", "Operations/details", show=False, id="plan.switch"),
    ]

    def __init__(self, operation: Operation, plan: Plan) -> None:
        super().__init__()
        self.operation = operation
        self.plan = plan
        self.note = ""

    def compose(self) -> ComposeResult:
        def gpus(operation: PlanOperation) -> tuple[Run, ...]:
            text = plan_text.devices(operation.gpus)
            return ((text or figures.MISSING, Tone.TEXT if text else Tone.MUTED),)

        def drain(operation: PlanOperation) -> tuple[Run, ...]:
            seconds = operation.drain_timeout
            return ((figures.MISSING if seconds is None else figures.span(seconds), Tone.MUTED),)

        yield Lines(id="plan-summary")
        yield Table[tuple[int, PlanOperation]](
            [
                Column("WAVE", lambda o: ((str(o[1].wave), Tone.MUTED),), width=4, align="right"),
                Column("DO", lambda o: ((str(o[1].kind), plan_text.kind_tone(o[1].kind)),), width=6),
                Column("REPLICA", lambda o: ((plan_text.subject(o[1]), Tone.STRONG),), limit=30),
                Column("GPU", lambda o: gpus(o[1]), limit=16),
                Column("DRAIN", lambda o: drain(o[1]), width=5, align="right", rank=2),
                Column("CAUSE", lambda o: ((o[1].cause, Tone.TEXT),), width=24, grow=1),
            ],
            lambda o: str(o[0]),
            empty="there is nothing to do",
            id="plan-operations",
        )
        with VerticalScroll(id="plan-scroll"):
            yield Lines(id="plan-details")

    @property
    def table(self) -> Table[tuple[int, PlanOperation]]:
        return self.query_one("#plan-operations", Table)

    @property
    def identity(self) -> tuple[object, ...]:
        return (type(self), self.operation.title, self.plan.id)

    @property
    def crumbs(self) -> Sequence[str]:
        return (str(self.graph_key), "plan")

    @property
    def graph_key(self) -> GraphKey:
        return GraphKey(self.plan.project, self.plan.graph)

    @property
    def service(self) -> str | None:
        return self.table.row[1].service if self.table.row else None

    def focus_main(self) -> None:
        self.screen.set_focus(self.table)

    def on_mount(self) -> None:
        self.show(self.plan)

    def show(self, plan: Plan, note: str = "") -> None:
        """Show this plan in place of the one before."""
        self.plan, self.note = plan, note
        summary: list[list[Run]] = [
            [
                (f" {self.operation.title}", Tone.STRONG),
                *plan_text.counts(plan),
                (f"  {plan_text.strategy(plan)}", Tone.INFO),
                (f"  {plan.id}", Tone.MUTED),
            ]
        ]
        summary += [[(f" ! {text}", Tone.WARN)] for text in plan.notes]
        if note:
            summary.append([(f" {note}", Tone.BAD)])
        keys = "nothing to apply" if plan.is_empty else "y: apply"
        summary.append([(f" $ {self.operation.command}", Tone.ACCENT), (f"   {keys}   p: plan again", Tone.MUTED)])
        self.query_one("#plan-summary", Lines).set_lines(summary)
        self.table.set_rows(enumerate(plan.operations))
        self._show_details()

    @on(Table.Moved, "#plan-operations")
    def _moved(self, message: Table.Moved) -> None:
        message.stop()
        self._show_details()

    def _show_details(self) -> None:
        row = self.table.row
        lines: list[list[Run]] = list(plan_text.operation_lines(row[1])) if row else []
        if self.plan.changes:
            lines += [[], [(" what is wanted changes", Tone.STRONG)]]
            lines += plan_text.change_lines(self.plan.changes)
        scroll = self.query_one("#plan-scroll", VerticalScroll)
        scroll.border_title = plan_text.subject(row[1]) if row else ""
        self.query_one("#plan-details", Lines).set_lines(lines)
        scroll.scroll_home(animate=False)

    def apply_filter(self, text: str) -> None:
        self.table.set_filter(text)

    # -- actions --------------------------------------------------------------------------------------------

    def action_apply(self) -> None:
        if not self.plan.is_empty:
            self.dashboard.apply_from(self)

    def action_plan_again(self) -> None:
        self.dashboard.plan_again(self)

    def action_other_part(self) -> None:
        scroll = self.query_one("#plan-scroll")
        self.screen.set_focus(self.table if scroll.has_focus else scroll)

    @on(Table.Selected, "#plan-operations")
    def _open(self, message: Table.Selected) -> None:
        message.stop()
        self.action_other_part()
