"""`rollback` and `rollout`: revisions, and how the current one fares."""

from __future__ import annotations

import click

from dynamo_tui.cli import columns, lookup
from dynamo_tui.cli.output import print_one, print_rows
from dynamo_tui.cli.quantities import Duration
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs
from dynamo_tui.cli.waiting import service_lines, settle
from dynamo_tui.client import calls


@click.command("rollback", cls=SessionCommand)
@click.argument("graph", shell_complete=complete_graphs)
@click.option("--to", type=click.IntRange(1), help="The revision; the one before the current by default.")
@click.option("--wait/--no-wait", "wait", default=False, help="Wait until it is ready.")
@click.option("--timeout", type=Duration(), default=3600.0, help="How long to wait, e.g. 90s or 10m.  [default: 1h]")
@click.pass_obj
def rollback_command(session: Session, graph: str, to: int | None, wait: bool, timeout: float) -> None:
    """Go back to an earlier revision of GRAPH."""
    state = session.client.send(calls.rollback(graph, to=to, project=session.project))
    if wait:
        state = settle(session, state, "ready", timeout)
    print_one(
        session, state, name=state.name, text=lambda g: [f"graph {g.name}, revision {g.revision}: {g.state.value}"]
    )


@click.group("rollout")
def command() -> None:
    """Status and history of a graph's revisions."""


@command.command("status", cls=SessionCommand)
@click.argument("graph", shell_complete=complete_graphs)
@click.option("--wait/--no-wait", "wait", default=False, help="Wait until the current revision is ready.")
@click.option("--timeout", type=Duration(), default=3600.0, help="How long to wait, e.g. 90s or 10m.  [default: 1h]")
@click.pass_obj
def status(session: Session, graph: str, wait: bool, timeout: float) -> None:
    """How far the current revision is."""
    state = session.client.send(calls.graph(graph, project=session.project))
    if wait:
        state = settle(session, state, "ready", timeout)
    replicas = lookup.replicas(session.client, session.project, graph)
    head = f"graph {state.name}, revision {state.revision}: {state.state.value} ({state.reason.value})"
    print_one(session, state, name=state.name, text=lambda g: [head, *(f"  {x}" for x in service_lines(g, replicas))])


@command.command("history", cls=SessionCommand)
@click.argument("graph", shell_complete=complete_graphs)
@click.pass_obj
def history(session: Session, graph: str) -> None:
    """The revisions of GRAPH, and which one is active."""
    rows = list(
        lookup.every(
            session.client,
            lambda cursor: calls.revisions(graph, project=session.project, after=cursor, limit=lookup.PAGE),
        )
    )
    print_rows(session, rows, columns.REVISIONS, name=lambda r: str(r.number), empty="no revisions")
