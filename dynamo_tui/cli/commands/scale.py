"""`scale`: how many replicas services have."""

from __future__ import annotations

import click

from dynamo_tui.cli.output import print_one
from dynamo_tui.cli.quantities import Duration
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs
from dynamo_tui.cli.waiting import settle
from dynamo_tui.client import calls


@click.command("scale", cls=SessionCommand)
@click.argument("graph", shell_complete=complete_graphs)
@click.argument("wanted", metavar="SERVICE=N...", nargs=-1, required=True)
@click.option("--wait/--no-wait", "wait", default=False, help="Wait until the graph is ready with them.")
@click.option("--timeout", type=Duration(), default=3600.0, help="How long to wait, e.g. 90s or 10m.  [default: 1h]")
@click.pass_obj
def command(session: Session, graph: str, wanted: tuple[str, ...], wait: bool, timeout: float) -> None:
    """Set how many replicas services of GRAPH have, e.g. `dynamoctl scale llm Worker=4 Router=2`."""
    counts = dict(_count(text) for text in wanted)
    for service, replicas in counts.items():
        session.client.send(calls.scale(graph, service, replicas, project=session.project))
    state = session.client.send(calls.graph(graph, project=session.project))
    if wait:
        state = settle(session, state, "ready", timeout)
    lines = [f"{s.name}: {s.ready}/{s.desired} ready" for s in state.services if s.name in counts]
    print_one(session, state, name=state.name, text=lambda _: lines)


def _count(text: str) -> tuple[str, int]:
    service, separator, number = text.partition("=")
    if not separator or not number.isdigit():
        raise click.UsageError(f"{text!r}: write SERVICE=N, with N replicas, e.g. Worker=2")
    return service, int(number)
