"""The line at the bottom where filters, commands and answers are typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, Label


@dataclass(frozen=True)
class Question:
    """What is asked for, and who hears the answer."""

    label: str
    on_submit: Callable[[str], None]
    on_change: Callable[[str], None] = field(default=lambda _text: None)
    on_cancel: Callable[[], None] = field(default=lambda: None)
    complete: Callable[[str], Sequence[str]] | None = None
    value: str = ""
    hint: str = ""
    history: str = ""


class Completions(Suggester):
    """Suggests the first completion."""

    def __init__(self, complete: Callable[[str], Sequence[str]]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._complete = complete

    async def get_suggestion(self, value: str) -> str | None:
        return next(iter(self._complete(value)), None) if value else None


class Prompt(Widget):
    DEFAULT_CSS = """
    Prompt { height: auto; display: none; layout: vertical; background: $surface; }
    Prompt.-open { display: block; }
    Prompt Horizontal { height: 1; }
    Prompt #prompt-label { width: auto; color: $text-accent; text-style: bold; padding: 0 0 0 1; }
    Prompt Input { border: none; height: 1; padding: 0; width: 1fr; background: $surface; }
    Prompt Input:focus { border: none; }
    Prompt #prompt-hint { color: $text-muted; height: 1; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", id="prompt.cancel"),
        Binding("tab", "complete", "Complete", id="prompt.complete"),
        Binding("up", "older", "Older", show=False, id="prompt.older"),
        Binding("down", "newer", "Newer", show=False, id="prompt.newer"),
    ]

    def __init__(self) -> None:
        super().__init__(id="prompt")
        self._question: Question | None = None
        self._history: dict[str, list[str]] = {}
        self._position = 0

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Label("", id="prompt-label", markup=False)
            yield Input(id="prompt-input", select_on_focus=False)
        yield Label("", id="prompt-hint", markup=False)

    @property
    def input(self) -> Input:
        return self.query_one("#prompt-input", Input)

    @property
    def is_open(self) -> bool:
        return self._question is not None

    def ask(self, question: Question) -> None:
        self._question = question
        self._position = 0
        self.query_one("#prompt-label", Label).update(question.label)
        hint = self.query_one("#prompt-hint", Label)
        hint.update(question.hint)
        hint.display = bool(question.hint)
        self.input.suggester = Completions(question.complete) if question.complete else None
        with self.input.prevent(Input.Changed):
            self.input.value = question.value
        self.input.cursor_position = len(question.value)
        self.add_class("-open")
        self.screen.set_focus(self.input)

    def _close(self) -> Question | None:
        question, self._question = self._question, None
        self.remove_class("-open")
        return question

    @on(Input.Changed)
    def _changed(self, message: Input.Changed) -> None:
        message.stop()
        question = self._question
        if question is None:
            return
        question.on_change(message.value)
        if question.complete is not None:
            options = question.complete(message.value)
            self.query_one("#prompt-hint", Label).update("  ".join(options[:12]) or question.hint)

    @on(Input.Submitted)
    def _submitted(self, message: Input.Submitted) -> None:
        message.stop()
        question = self._close()
        if question is None:
            return
        if question.history and message.value:
            held = self._history.setdefault(question.history, [])
            if message.value in held:
                held.remove(message.value)
            held.append(message.value)
        question.on_submit(message.value)

    def action_cancel(self) -> None:
        question = self._close()
        if question is not None:
            question.on_cancel()

    def action_complete(self) -> None:
        question = self._question
        if question is None or question.complete is None:
            return
        options = question.complete(self.input.value)
        if options:
            goes_on = len(options) > 1 or options[0].endswith(("/", "="))
            self.input.value = options[0] if goes_on else options[0] + " "
            self.input.cursor_position = len(self.input.value)

    def _recall(self, by: int) -> None:
        held = self._history.get(self._question.history, []) if self._question else []
        if held:
            self._position = min(len(held), max(0, self._position + by))
            self.input.value = held[-self._position] if self._position else ""
            self.input.cursor_position = len(self.input.value)

    def action_older(self) -> None:
        self._recall(1)

    def action_newer(self) -> None:
        self._recall(-1)
