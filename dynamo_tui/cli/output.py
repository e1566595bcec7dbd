"""How found things are printed: tables for people, JSON and names for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click
import msgspec

from dynamo_tui.cli.session import Session

T = TypeVar("T")

_COLOURS = {
    "ready": "green",
    "failed": "red",
    "lost": "red",
    "degraded": "yellow",
    "unready": "yellow",
    "starting": "cyan",
    "deploying": "cyan",
    "pending": "cyan",
    "stopping": "magenta",
}


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column: its title, what stands in a row's cell, and whether only `-o wide` shows it.

    `least` is how wide it is at least: rows that come one by one then stand in line from the first.
    """

    title: str
    cell: Callable[[T], Any]
    wide: bool = False
    least: int = 0


class Table(Generic[T]):
    """A table whose widths grow with what it shows, so that rows can be added while watching."""

    def __init__(self, columns: Sequence[Column[T]], *, wide: bool = False) -> None:
        self._columns = [c for c in columns if wide or not c.wide]
        self._widths = [max(len(c.title), c.least) for c in self._columns]

    def lines(self, rows: Iterable[T], *, header: bool = True) -> list[str]:
        """The rows as lines, with the header first when wanted."""
        cells = [[_cell(c.cell(row)) for c in self._columns] for row in rows]
        for line in cells:
            self._widths = [max(w, len(cell)) for w, cell in zip(self._widths, line, strict=True)]
        if header:
            cells.insert(0, [c.title for c in self._columns])
        return [self._line(line) for line in cells]

    def _line(self, cells: Sequence[str]) -> str:
        last = len(cells) - 1
        padded = (
            coloured(c) + (" " * (w - len(c)) if i < last else "")
            for i, (c, w) in enumerate(zip(cells, self._widths, strict=True))
        )
        return "  ".join(padded).rstrip()


def coloured(word: str) -> str:
    """The word in its state's colour, where a person looks and colour is wanted. The word itself says the same."""
    colour = _COLOURS.get(word)
    if colour is None or "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return word
    return click.style(word, fg=colour)


def print_json(value: Any) -> None:
    """One JSON document, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_json_line(value: Any) -> None:
    """One JSON document on one line: for streams."""
    click.echo(msgspec.json.encode(value))


def print_rows(
    session: Session, rows: Sequence[T], columns: Sequence[Column[T]], *, name: Callable[[T], str], empty: str
) -> None:
    """A list in the session's form. `empty` is said (on stderr) instead of an empty table."""
    if session.json:
        print_json(rows)
    elif session.output == "name":
        for row in rows:
            click.echo(name(row))
    elif rows:
        for line in Table(columns, wide=session.output == "wide").lines(rows):
            click.echo(line)
    else:
        click.echo(empty, err=True)


def print_one(session: Session, value: T, *, name: str, text: Callable[[T], Iterable[str]]) -> None:
    """One thing in the session's form; `text` gives its lines for people."""
    if session.json:
        print_json(value)
    elif session.output == "name":
        click.echo(name)
    else:
        for line in text(value):
            click.echo(line)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return " ".join(str(value).split("\n"))
