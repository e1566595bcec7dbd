"""`python -m dynamo_tui.cli.reference`: print `docs/cli.md`, made from the commands themselves."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise

import click

from dynamo_tui.cli.app import SECTIONS, application
from dynamo_tui.cli.exits import ExitCode
from dynamo_tui.cli.session import SessionCommand

_INTRODUCTION = """\
# Command reference

<!-- made by `python -m dynamo_tui.cli.reference > docs/cli.md`; a test holds that it is current -->

`dynamoctl` and `dynamo` are the same program. What it finds is written to stdout, what it has to say to stderr.
Every error is one line that says what failed, on what, and what to do.

- `--json` prints JSON (with `--watch` and `--follow` one object a line), `-o name` names alone, `-o wide` more columns.
- Which daemon is meant: `--context NAME`, else `DYNAMOD_CONTEXT`, else `DYNAMOD_URL` with `DYNAMOD_TOKEN`, else the
  current context (`dynamoctl config use`), else this machine's. Where no daemon runs but a single `serve` does,
  commands look at that one; `--context serve:PID` names one of several. What is submitted, planned or deployed goes
  to the daemon, unless a `serve` is named.
- `submit` and `demo` start a daemon when none answers on the local socket, and say so; `--no-start` forbids it.
- Durations are written `90`, `30s`, `5m`, `1h30m`; times the same (that long ago) or `2026-01-31T08:00:00Z`.
- Completion: `source <(dynamoctl completion bash)`, likewise `zsh` and `fish`.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield _INTRODUCTION
    yield "## Exit codes"
    yield ""
    yield "| Code | Name | Meaning |"
    yield "| --- | --- | --- |"
    meanings = _meanings()
    for code in ExitCode:
        yield f"| {code.value} | {code.name.lower()} | {meanings.get(code.name, 'Done.')} |"
    root = click.Context(application, info_name="dynamoctl")
    for title, section in SECTIONS.items():
        yield ""
        yield f"## {title}"
        for name in section:
            command = application.get_command(root, name)
            if command is not None:
                yield from _command(command, click.Context(command, info_name=name, parent=root))


def _meanings() -> dict[str, str]:
    """The sentence under each exit code, from the source of the enum: Python keeps no docstrings of members."""
    lines = inspect.getsource(ExitCode).splitlines()
    found = {}
    for line, following in pairwise(lines):
        name, separator, _ = line.strip().partition(" = ")
        if separator and following.strip().startswith('"""'):
            found[name] = following.strip().strip('"')
    return found


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield ""
    yield f"### `{' '.join([context.command_path, *command.collect_usage_pieces(context)])}`"
    yield ""
    yield inspect.cleandoc(command.help or "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _command(child, click.Context(child, info_name=name, parent=context))
        return
    shared = _SHARED if isinstance(command, SessionCommand) else set()
    options = [p for p in command.params if isinstance(p, click.Option) and p.name not in shared]
    if options:
        yield ""
        yield "| Option | |"
        yield "| --- | --- |"
        yield from map(_option, options)


_SHARED = {"as_json", "output", "project_name", "context_name", "no_start"}


def _option(option: click.Option) -> str:
    """One row. Put together here, for click words its own differently from version to version."""
    names = ", ".join([*option.opts, *option.secondary_opts])
    if not option.is_flag:
        names += f" {option.metavar or _metavar(option.type)}"
    text = (option.help or "").replace("|", "\\|")
    return f"| `{names}` | {text} |"


def _metavar(kind: click.ParamType[object]) -> str:
    if isinstance(kind, click.Choice):
        return "\\|".join(str(choice) for choice in kind.choices)
    if isinstance(kind, click.Path):
        return "PATH"
    return {"integer range": "N", "float range": "X", "filename": "FILE"}.get(kind.name, kind.name.upper())


if __name__ == "__main__":
    sys.stdout.write(reference())
