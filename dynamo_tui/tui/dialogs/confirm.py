"""Says what will happen, and asks."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from dynamo_tui.tui.operations import Operation
from dynamo_tui.tui.plan_text import consequences
from dynamod.schema import Plan

_STYLE = """
{name} {{ align: center middle; background: $background 60%; }}
{name} > Vertical {{
    width: 86; max-width: 95%; height: auto; max-height: 90%; padding: 1 2;
    background: $surface; border: round $primary; border-title-color: $text-primary; border-title-style: bold;
}}
{name}.-harmful > Vertical {{ border: round $error; border-title-color: $text-error; }}
{name} .lines {{ height: auto; max-height: 100%; scrollbar-size-vertical: 1; }}
{name} Static {{ height: auto; }}
{name} .note {{ color: $text-error; margin-bottom: 1; }}
{name} .command {{ color: $text-accent; margin-top: 1; }}
{name} .keys {{ color: $text-muted; margin-top: 1; }}
"""


Answer = Literal["yes", "page"]


class Confirm(ModalScreen[Answer]):
    """Answers `yes` to do it, `page` to look at the whole plan first, and nothing to leave it.

    A harmful operation takes `y`; for others `enter` will do, too. What changes nothing cannot be confirmed.
    """

    CSS = _STYLE.format(name="Confirm")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "Yes", id="confirm.yes"),
        Binding("enter", "enter", "Yes", show=False, id="confirm.enter"),
        Binding("p", "page", "The whole plan", id="confirm.plan"),
        Binding("n,escape,q", "no", "No", key_display="n", id="confirm.no"),
    ]

    def __init__(self, operation: Operation, plan: Plan | None = None, note: str = "") -> None:
        super().__init__(classes="-harmful" if operation.harmful else "")
        self.operation = operation
        self.plan = plan
        self.note = note

    @property
    def _possible(self) -> bool:
        return self.plan is None or not self.plan.is_empty

    def compose(self) -> ComposeResult:
        lines = self.operation.consequences if self.plan is None else consequences(self.plan)
        keys = ["y: do it" if self.operation.harmful else "y or enter: do it"] if self._possible else []
        if self.plan is not None:
            keys.append("p: the whole plan")
        with Vertical() as box:
            box.border_title = self.operation.title
            if self.note:
                yield Static(self.note, classes="note", markup=False)
            with VerticalScroll(classes="lines", can_focus=False):
                for line in lines:
                    yield Static(f"• {line}", markup=False)
            yield Static(f"$ {self.operation.command}", classes="command", markup=False)
            yield Static("    ".join([*keys, "n or esc: leave it"]), classes="keys", markup=False)

    def action_yes(self) -> None:
        if self._possible:
            self.dismiss("yes")

    def action_enter(self) -> None:
        if not self.operation.harmful:
            self.action_yes()

    def action_page(self) -> None:
        if self.plan is not None:
            self.dismiss("page")

    def action_no(self) -> None:
        self.dismiss(None)


class Report(ModalScreen[None]):
    """Lines to read."""

    CSS = _STYLE.format(name="Report")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,n,enter", "close", "Close", key_display="esc", id="report.close"),
    ]

    def __init__(self, title: str, lines: list[str]) -> None:
        super().__init__()
        self._heading = title
        self._text = lines

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._heading
            with VerticalScroll(classes="lines"):
                yield Static("\n".join(self._text), markup=False)
            yield Static("esc: close", classes="keys", markup=False)

    def action_close(self) -> None:
        self.dismiss(None)
