"""`submit`: hand a graph to the daemon."""

from __future__ import annotations

import click

from dynamo_tui.cli import builds, targets
from dynamo_tui.cli.kubernetes import placement_options
from dynamo_tui.cli.output import print_one
from dynamo_tui.cli.quantities import Duration
from dynamo_tui.cli.session import Session, say
from dynamo_tui.cli.waiting import settle
from dynamo_tui.client import calls
from dynamod.schema.graphs import Graph


@click.command("submit", cls=targets.TargetSessionCommand)
@placement_options
@targets.target_options
@click.option("--wait/--no-wait", "wait", default=False, help="Wait until it is ready.")
@click.option("--timeout", type=Duration(), default=3600.0, help="How long to wait, e.g. 90s or 10m.  [default: 1h]")
@click.pass_obj
def command(session: Session, source: targets.Source, wait: bool, timeout: float) -> None:
    """Hand the graph TARGET (module:Class, path.py:Class, a build or its archive) to the daemon, or a new revision.

    Its code is imported in the chosen interpreter, never in the daemon. Configuration can be overridden
    with --Service.key=value. Submitting what is already there changes nothing.
    """
    request = builds.submission(session, source)
    session.ensure_daemon()
    with builds.progress_of(session, request):
        answer = session.client.answer(calls.submit(request))
    graph = answer.value
    if wait:
        graph = settle(session, graph, "ready", timeout)
    elif not session.json:
        say(f"follow it: dynamoctl ps {graph.name} -w")
    print_one(session, graph, name=graph.name, text=lambda g: [_told(g, created=answer.status == 201)])


def _told(graph: Graph, *, created: bool) -> str:
    what = "created" if created else "submitted"
    where = f" at {graph.address}" if graph.address else ""
    return f"graph {graph.name} {what}, revision {graph.revision}: {graph.state.value}{where}"
