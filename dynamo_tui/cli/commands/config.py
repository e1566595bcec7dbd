"""`config`: contexts, the daemons that commands can talk to."""

from __future__ import annotations

import os
from typing import TextIO

import click
import msgspec

from dynamo_tui.cli.exits import UserError
from dynamo_tui.cli.output import Column, Table, print_json
from dynamo_tui.cli.session import say
from dynamo_tui.client.contexts import (
    LOCAL,
    Context,
    choose,
    contexts_file,
    load_contexts,
    local_context,
    running_serves,
    save_contexts,
    unknown_context,
)


class ContextRow(msgspec.Struct, frozen=True, kw_only=True):
    """A context as it is shown: its token is never printed."""

    name: str
    address: str
    project: str = ""
    token: bool = False
    current: bool = False


_COLUMNS: tuple[Column[ContextRow], ...] = (
    Column("CURRENT", lambda c: "*" if c.current else " "),
    Column("NAME", lambda c: c.name),
    Column("ADDRESS", lambda c: c.address),
    Column("PROJECT", lambda c: c.project),
    Column("TOKEN", lambda c: "yes" if c.token else "no"),
)


@click.group("config")
def command() -> None:
    """Contexts: which daemon commands talk to. `local` is this machine's own."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_contexts(as_json: bool) -> None:
    """List contexts, and the `serve` programs that run now."""
    file = load_contexts(contexts_file(os.environ))
    current = choose(os.environ).context.name
    known = [local_context(os.environ), *(msgspec.structs.replace(c, name=n) for n, c in file.contexts.items())]
    rows = [
        ContextRow(
            name=c.name, address=c.address, project=c.project, token=c.token is not None, current=c.name == current
        )
        for c in known
    ]
    for serve in running_serves(os.environ):
        name = f"serve:{serve.pid}"
        rows.append(ContextRow(name=name, address=serve.socket, project=serve.project, current=name == current))
    if as_json:
        print_json(rows)
        return
    for line in Table(_COLUMNS).lines(rows):
        click.echo(line)


@command.command("set")
@click.argument("name")
@click.option("--url", metavar="URL", help="A daemon that listens on TCP, http:// or https://.")
@click.option("--socket", metavar="PATH", type=click.Path(), help="A daemon's Unix socket.")
@click.option("--token-file", type=click.File("r"), metavar="FILE", help="Where the token is read from; - is stdin.")
@click.option("--project", metavar="NAME", help="The project that commands there mean.")
@click.option("--use", is_flag=True, help="Make it the current context.")
def set_context(
    name: str,
    url: str | None,
    socket: str | None,
    token_file: TextIO | None,
    project: str | None,
    use: bool,
) -> None:
    """Add the context NAME, or change it. Tokens are read from a file, for arguments are seen by everybody."""
    if name == LOCAL or ":" in name:
        raise UserError(f"{name!r} is a name of its own", remedy="choose another")
    if url and socket:
        raise click.UsageError("give either --url or --socket")
    path = contexts_file(os.environ)
    file = load_contexts(path)
    old = file.contexts.get(name)
    if old is None and not (url or socket):
        raise click.UsageError(f"there is no context {name!r} yet: give it --url or --socket")
    if url is not None and not url.startswith(("http://", "https://")):
        raise click.UsageError(f"{url!r} is not a URL: write http://HOST:PORT or https://…")
    context = old or Context(name=name)
    if url or socket:
        context = msgspec.structs.replace(context, url=url, socket=socket and os.path.abspath(socket))  # noqa: PTH100
    if token_file is not None:
        context = msgspec.structs.replace(context, token=token_file.read().strip() or None)
    if project is not None:
        context = msgspec.structs.replace(context, project=project)
    file.contexts[name] = context
    if use:
        file.current = name
    save_contexts(path, file)


@command.command("use")
@click.argument("name")
def use_context(name: str) -> None:
    """Make NAME the context that commands talk to."""
    path = contexts_file(os.environ)
    file = load_contexts(path)
    if name != LOCAL and name not in file.contexts:
        raise unknown_context(name, file)
    file.current = name
    save_contexts(path, file)
    if override := os.environ.get("DYNAMOD_CONTEXT") or os.environ.get("DYNAMOD_URL"):
        say(f"note: the environment says {override}, which goes first")


@command.command("rm")
@click.argument("name")
def remove_context(name: str) -> None:
    """Forget the context NAME."""
    path = contexts_file(os.environ)
    file = load_contexts(path)
    if file.contexts.pop(name, None) is None:
        raise unknown_context(name, file)
    if file.current == name:
        file.current = LOCAL
    save_contexts(path, file)
