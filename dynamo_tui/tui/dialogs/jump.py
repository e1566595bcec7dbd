"""Jump mode: a letter or two over everything that can be selected, and the keyboard goes there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Label

from dynamo_tui.tui.jumping import Target, labels


class Jump(ModalScreen[Target]):
    """Answers the target whose label was typed."""

    CSS = """
    Jump { background: $background 35%; layers: labels; }
    Jump Label {
        position: absolute; layer: labels; width: auto; height: 1;
        background: $background; color: $foreground; text-style: bold reverse;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,semicolon", "leave", "Jump nowhere", key_display="esc", id="jump.leave"),
        Binding("backspace", "forget", "Type the label anew", show=False, id="jump.forget"),
    ]

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__()
        self._targets = dict(zip(labels(len(targets)), targets, strict=False))
        self._typed = ""

    def compose(self) -> ComposeResult:
        for label, target in self._targets.items():
            mark = Label(label, markup=False)
            mark.styles.offset = (target.at.x, target.at.y)
            yield mark

    def on_key(self, event: Key) -> None:
        if event.character is None or not event.character.isalpha():
            return
        event.stop()
        self._typed += event.character.lower()
        if (target := self._targets.get(self._typed)) is not None:
            self.dismiss(target)
        elif not any(label.startswith(self._typed) for label in self._targets):
            self.dismiss(None)
        else:
            self._show_matching()

    def _show_matching(self) -> None:
        for mark, label in zip(self.query(Label), self._targets, strict=True):
            mark.display = label.startswith(self._typed)

    def action_forget(self) -> None:
        self._typed = ""
        self._show_matching()

    def action_leave(self) -> None:
        self.dismiss(None)
