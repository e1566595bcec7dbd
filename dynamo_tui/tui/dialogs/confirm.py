"""Says what will happen, and asks."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from dynamo_tui.tui.operations import Operation

_STYLE = """
{name} {{ align: center middle; background: $background 60%; }}
{name} > Vertical {{
    width: 86; max-width: 95%; height: auto; max-height: 90%; padding: 1 2;
    background: $surface; border: round $primary; border-title-color: $text-primary; border-title-style: bold;
}}
{name}.-harmful > Vertical {{ border: round $error; border-title-color: $text-error; }}
{name} .lines {{ height: auto; max-height: 100%; scrollbar-size-vertical: 1; }}
{name} Static {{ height: auto; }}
{name} .command {{ color: $text-accent; margin-top: 1; }}
{name} .keys {{ color: $text-muted; margin-top: 1; }}
"""


class Confirm(ModalScreen[bool]):
    """Answers True for yes. A harmful operation takes `y`; for others `enter` will do, too."""

    CSS = _STYLE.format(name="Confirm")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="confirm.yes"),
        Binding("enter", "enter", "Yes", show=False, id="confirm.enter"),
        Binding("n,escape,q", "answer(False)", "No", key_display="n", id="confirm.no"),
    ]

    def __init__(self, operation: Operation) -> None:
        super().__init__(classes="-harmful" if operation.harmful else "")
        self.operation = operation

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self.operation.title
            for line in self.operation.consequences:
                yield Static(f"• {line}", markup=False)
            yield Static(f"$ {self.operation.command}", classes="command", markup=False)
            yes = "y" if self.operation.harmful else "y or enter"
            yield Static(f"{yes}: do it    n or esc: leave it", classes="keys", markup=False)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def action_enter(self) -> None:
        if not self.operation.harmful:
            self.dismiss(True)


class Report(ModalScreen[bool]):
    """Lines to read; where there is something to do, `y` does it."""

    CSS = _STYLE.format(name="Report")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "Do it", id="report.yes"),
        Binding("escape,q,n,enter", "close", "Close", key_display="esc", id="report.close"),
    ]

    def __init__(self, title: str, lines: list[str], *, question: str = "", command: str = "") -> None:
        super().__init__()
        self._heading = title
        self._text = lines
        self._question = question
        self._command = command

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._heading
            with VerticalScroll(classes="lines"):
                yield Static("\n".join(self._text), markup=False)
            if self._command:
                yield Static(f"$ {self._command}", classes="command", markup=False)
            keys = f"y: {self._question}    esc: close" if self._question else "esc: close"
            yield Static(keys, classes="keys", markup=False)

    def action_yes(self) -> None:
        if self._question:
            self.dismiss(True)

    def action_close(self) -> None:
        self.dismiss(False)
