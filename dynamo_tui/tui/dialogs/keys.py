"""`?`: every key of the page, generated from its bindings, and every `:` command."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen

from dynamo_tui.tui.commands import COMMANDS
from dynamo_tui.tui.dialogs.confirm import Report

_KEY_WIDTH = 22


def help_lines(app: App[int], screen: Screen[object]) -> list[str]:
    """The keys that work now, nearest first, and the commands."""
    lines: list[str] = []
    seen: set[str] = set()
    chain: list[DOMNode] = list(screen.focused.ancestors_with_self) if screen.focused else [screen]
    if app not in chain:
        chain.append(app)
    for node in chain:
        own = list(_own_keys(app, node, seen))
        if own:
            lines += [_heading(node), *own, ""]
    lines.append("Commands")
    lines += [f"  {':' + c.usage:<{_KEY_WIDTH}} {c.summary}" for c in COMMANDS.values()]
    return lines


def _own_keys(app: App[int], node: DOMNode, seen: set[str]) -> Iterator[str]:
    grouped: dict[str, list[Binding]] = {}
    for bindings in node._bindings.key_to_bindings.values():
        for binding in bindings:
            if binding.description and binding.key not in seen and not binding.system:
                grouped.setdefault(binding.description, []).append(binding)
    for description, bindings in grouped.items():
        seen.update(b.key for b in bindings)
        keys = " ".join(dict.fromkeys(app.get_key_display(b) for b in bindings))
        yield f"  {keys:<{_KEY_WIDTH}} {description}"


def _heading(node: DOMNode) -> str:
    if isinstance(node, App):
        return "Everywhere"
    name = type(node).__name__.removesuffix("View")
    return {"Table": "In a table", "Log": "In a log", "LogView": "In a log"}.get(name, name + " page")


class Help(Report):
    """The help window."""

    CSS = Report.CSS.replace("Report", "Help")

    def __init__(self, lines: list[str]) -> None:
        super().__init__("Keys and commands", lines)
