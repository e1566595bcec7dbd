"""The switcher: every daemon that is known, which of them are open, and which one this tab looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from dynamo_tui.client.contexts import choose, known_contexts
from dynamo_tui.client.errors import ClientError
from dynamo_tui.tui import figures
from dynamo_tui.tui.session import Session
from dynamo_tui.tui.tones import Run, Tone
from dynamo_tui.tui.widgets.table import Column, Table
from dynamo_tui.tui.widgets.title_bar import LINKS


@dataclass(frozen=True)
class ContextRow:
    """`session` is the open one of it, or None; `current`: this tab looks at it."""

    name: str
    address: str
    session: Session | None
    current: bool


def context_rows(environ: Mapping[str, str], sessions: Sequence[Session], current: Session) -> list[ContextRow]:
    """The contexts that are configured or run, and those that are open beside them."""
    opened = {session.context.name: session for session in sessions}
    rows = []
    for name in dict.fromkeys([*opened, *known_contexts(environ)]):
        session = opened.get(name)
        rows.append(ContextRow(name, _address(environ, name, session), session, session is current))
    return rows


def _address(environ: Mapping[str, str], name: str, session: Session | None) -> str:
    if session is not None:
        return session.context.address
    try:
        return choose(environ, name).context.address
    except ClientError as error:
        return str(error)


class Switch(NamedTuple):
    name: str
    where: Literal["here", "tab"]


class Contexts(ModalScreen[Switch]):
    """Answers which context is wanted, and whether in a tab of its own."""

    CSS = """
    Contexts { align: center middle; background: $background 60%; }
    Contexts > Vertical {
        width: 110; max-width: 95%; height: auto; max-height: 80%; padding: 1 2;
        background: $surface; border: round $primary; border-title-color: $text-primary; border-title-style: bold;
    }
    Contexts Table { height: auto; max-height: 16; min-height: 3; }
    Contexts Static { height: auto; color: $text-muted; margin-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "tab", "In a new tab", id="contexts.tab"),
        Binding("escape,q", "close", "Close", key_display="esc", id="contexts.close"),
    ]

    def __init__(self, rows: Sequence[ContextRow]) -> None:
        super().__init__()
        self._rows = rows

    def compose(self) -> ComposeResult:
        def state(row: ContextRow) -> tuple[Run, ...]:
            return (LINKS[row.session.store.link],) if row.session else ((figures.MISSING, Tone.MUTED),)

        with Vertical() as box:
            box.border_title = "Contexts"
            yield Table[ContextRow](
                [
                    Column("CONTEXT", lambda r: ((r.name, Tone.STRONG),), limit=24),
                    Column("", lambda r: (("this tab" if r.current else "", Tone.INFO),), width=8),
                    Column("STATE", state, width=14),
                    Column("ADDRESS", lambda r: ((r.address, Tone.TEXT),), width=20, grow=1),
                ],
                lambda r: r.name,
                id="contexts",
            )
            yield Static("enter: look at it here    t: in a new tab    esc: close", markup=False)

    def on_mount(self) -> None:
        table = self.query_one("#contexts", Table)
        table.set_rows(self._rows)
        table.focus()

    @on(Table.Selected, "#contexts")
    def _here(self, message: Table.Selected) -> None:
        message.stop()
        self.dismiss(Switch(message.row.name, "here"))

    def action_tab(self) -> None:
        if (row := self.query_one("#contexts", Table).row) is not None:
            self.dismiss(Switch(row.name, "tab"))

    def action_close(self) -> None:
        self.dismiss(None)
