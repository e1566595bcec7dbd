"""Submitting from the dashboard: what the words mean is what they mean to `dynamoctl submit`."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence

import click

from dynamo_tui.cli import builds
from dynamo_tui.cli.session import Session
from dynamo_tui.cli.targets import Source, TargetCommand, target_options
from dynamo_tui.client import calls
from dynamo_tui.client.contexts import LOCAL, Context
from dynamo_tui.tui.operations import Operation
from dynamo_tui.tui.source import Source as Api
from dynamod.schema import GraphSubmit, Plan


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


def submit(words: Sequence[str], context: Context) -> Operation:
    """The operation that submits what the words say; planning it inspects the graph in its own interpreter.

    Planning raises `CliError` where the graph cannot be inspected, `ClientError` where the daemon refuses.

    Raises:
        click.ClickException: the words are not understood.
    """
    source = parse(words)

    async def plan(api: Api) -> Plan:
        return await api.send(calls.plan(await asyncio.to_thread(_request, source, context)))

    elsewhere = () if context.name == LOCAL else ("--context", context.name)
    command = shlex.join(["dynamoctl", "submit", *words, *elsewhere])
    return Operation(f"Submit {source.target}", command, f"{source.target} is being rolled out", plan=plan)


def _request(source: Source, context: Context) -> GraphSubmit:
    session = Session.of(context)
    try:
        return builds.submission(session, source)
    finally:
        session.close()
