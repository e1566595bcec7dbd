"""One run of a command: which daemon it talks to, and how it shows what it found."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import click

from dynamo_tui.client.contexts import Choice, Context, answers, choose
from dynamo_tui.client.errors import ClientError, Unreachable
from dynamo_tui.client.sync import Client

SAY_EVERY_S = 10.0
Output = Literal["table", "wide", "name", "json"]


@dataclass
class Session:
    """What the shared options say. The connection is made when it is first needed."""

    context_name: str | None = None
    project_name: str | None = None
    output: Output = "table"
    no_start: bool = False
    attach: bool = True
    _client: Client | None = field(default=None, repr=False)
    _said_at: float = field(default=float("-inf"), repr=False)

    @classmethod
    def of(cls, context: Context) -> Session:
        """One that talks to a daemon that is chosen already, and starts none."""
        session = cls(no_start=True)
        session.choice = Choice(context)
        return session

    @cached_property
    def choice(self) -> Choice:
        return choose(os.environ, self.context_name, attach=self.attach)

    @property
    def project(self) -> str:
        return self.project_name or self.choice.context.project

    @property
    def json(self) -> bool:
        return self.output == "json"

    @property
    def client(self) -> Client:
        if self._client is None:
            if self.choice.attached is not None:
                serve = self.choice.attached
                say(f"no daemon runs; showing `serve` of {serve.graph} (pid {serve.pid})")
            self._client = Client(self.choice.context)
        return self._client

    def ensure_daemon(self) -> None:
        """Start the local daemon when it is the one that is meant and does not run, and say so."""
        context = self.choice.context
        if not self.choice.may_start or context.socket is None or answers(context.socket):
            return
        if self.no_start:
            return  # the call that follows says that nobody answers, and what to do
        from dynamo_tui.client.processes import start_daemon

        started = start_daemon(os.environ)
        say(f"no daemon was running; started one (pid {started.pid}, log {started.log})")

    def pause(self, error: ClientError, delay: float) -> None:
        """Between two attempts of a followed stream: say (now and then) why nothing comes, and sleep.

        Raises:
            Unreachable: what was watched was a `serve`, and it has ended for good.
        """
        if self.choice.attached is not None and isinstance(error, Unreachable):
            raise error
        now = time.monotonic()
        if now - self._said_at > SAY_EVERY_S:
            self._said_at = now
            say(f"{error}; trying again")
        time.sleep(delay)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def say(message: str) -> None:
    """Talk: one line on stderr, never mixed into data."""
    click.echo(message, err=True)


def interactive() -> bool:
    """Does a person watch our output?"""
    return sys.stdout.isatty() and sys.stderr.isatty()


class SessionCommand(click.Command):
    """A command that talks to a daemon: it has the shared options, and gets a Session as its object."""

    show_project = True
    show_output = True
    show_context = True
    attach = True
    """Where no daemon runs but a single `serve` does, that one is looked at."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        params: list[click.Parameter] = kwargs.setdefault("params", [])
        if self.show_output:
            params += [
                click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
                click.Option(
                    ["-o", "--output", "output"],
                    type=click.Choice(["table", "wide", "name", "json"]),
                    default="table",
                    show_default=True,
                    help="Output form.",
                ),
            ]
        if self.show_project:
            params.append(click.Option(["--project", "project_name"], metavar="NAME", help="The project."))
        if self.show_context:
            params += _context_options()
        super().__init__(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        shared = {k: ctx.params.pop(k, None) for k in ("as_json", "output", "project_name", "context_name", "no_start")}
        ctx.obj = Session(
            context_name=shared["context_name"],
            project_name=shared["project_name"],
            output="json" if shared["as_json"] else shared["output"] or "table",
            no_start=bool(shared["no_start"]),
            attach=self.attach,
        )
        try:
            return super().invoke(ctx)
        finally:
            ctx.obj.close()


class GlobalCommand(SessionCommand):
    """A session command about the daemon as a whole: projects do not matter to it."""

    show_project = False


class DaemonCommand(GlobalCommand):
    """A command about a daemon itself: a `serve` is none, unless it is named."""

    attach = False


class LocalCommand(DaemonCommand):
    """A command about the local daemon and no other."""

    show_context = False


def _context_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--context", "context_name"],
            metavar="NAME",
            help="The daemon: a configured context, `local`, or `serve:PID`.",
            shell_complete=lambda _ctx, _param, word: _complete_contexts(word),
        ),
        click.Option(["--no-start"], is_flag=True, help="Never start a daemon."),
    ]


def complete_graphs(ctx: click.Context, _: click.Parameter, word: str) -> list[str]:
    """Names of graphs for shell completion; nothing when no daemon answers."""
    from dynamo_tui.client import calls

    try:
        choice = choose(os.environ, ctx.params.get("context_name"))
        with Client(choice.context, timeout=1.0, connect_timeout=0.5) as client:
            project = ctx.params.get("project_name") or choice.context.project
            return [g.name for g in client.send(calls.graphs(project=project)).items if g.name.startswith(word)]
    except ClientError:
        return []


def _complete_contexts(word: str) -> list[str]:
    from dynamo_tui.client.contexts import known_contexts

    return [n for n in known_contexts(os.environ) if n.startswith(word)]
