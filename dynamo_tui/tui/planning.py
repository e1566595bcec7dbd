"""Submitting from the dashboard: the graph is inspected, the plan is shown, and applied when that is wanted."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence

import click

from dynamo_tui.cli.commands.plan import plan_lines
from dynamo_tui.cli.targets import Source, TargetCommand, target_options
from dynamo_tui.client import calls
from dynamo_tui.tui.source import Source as Api
from dynamod.schema import Plan


@click.command("submit", cls=TargetCommand, add_help_option=False)
@target_options
def _parsed(source: Source) -> Source:
    return source


def parse(words: Sequence[str]) -> Source:
    """The target and options as `dynamoctl submit` takes them.

    Raises:
        click.ClickException: they are not understood.
    """
    source: Source = _parsed.main(args=list(words), prog_name=":submit", standalone_mode=False)
    return source


async def make_plan(client: Api, source: Source, project: str) -> Plan:
    """Inspect the graph in its own interpreter and ask the daemon what a submit would do.

    Raises:
        CliError: the graph cannot be inspected.
        ClientError: the daemon refuses, or is away.
    """
    request = await asyncio.to_thread(source.submission, project)
    return await client.send(calls.plan(request))


def lines_of(plan: Plan) -> list[str]:
    """The plan as people read it, without the last line that names the command: the window shows that itself."""
    return [line for line in plan_lines(plan) if not line.startswith("carry it out:")]


def command_of(words: Sequence[str]) -> str:
    return shlex.join(["dynamoctl", "submit", *words])
