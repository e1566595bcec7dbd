"""`wait`: until a graph has come to a state."""

from __future__ import annotations

import click

from dynamo_tui.cli.output import print_one
from dynamo_tui.cli.quantities import Duration
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs
from dynamo_tui.cli.waiting import Goal, shown_progress, wait_for


@click.command("wait", cls=SessionCommand)
@click.argument("graph", shell_complete=complete_graphs)
@click.option(
    "--for",
    "goal",
    type=click.Choice(["ready", "stopped", "removed"]),
    default="ready",
    show_default=True,
    help="What to wait for.",
)
@click.option("--timeout", type=Duration(), default=3600.0, help="How long to wait, e.g. 90s or 10m.  [default: 1h]")
@click.pass_obj
def command(session: Session, graph: str, goal: Goal, timeout: float) -> None:
    """Wait until GRAPH is ready, stopped or removed. Exits 8 when it has failed, 6 when time is up."""
    with shown_progress() as progress:
        state = wait_for(session.client, graph, goal, project=session.project, timeout=timeout, progress=progress)
    if state is not None:
        print_one(session, state, name=state.name, text=lambda g: [f"graph {g.name}: {g.state.value}"])
