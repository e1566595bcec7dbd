"""`restart`, `drain`, `stop`, `start` and `rm`."""

from __future__ import annotations

import click

from dynamo_tui.cli import lookup
from dynamo_tui.cli.output import print_one
from dynamo_tui.cli.quantities import Duration
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs
from dynamo_tui.cli.waiting import Goal, settle, shown_progress, wait_for
from dynamo_tui.client import calls
from dynamod.schema.graphs import Graph

_wait = click.option("--wait/--no-wait", "wait", default=False, help="Wait until it is done.")
_timeout = click.option(
    "--timeout", type=Duration(), default=600.0, help="How long to wait, e.g. 90s or 10m.  [default: 10m]"
)
_graphs = click.argument("graphs", metavar="GRAPH...", nargs=-1, required=True, shell_complete=complete_graphs)


@click.command("restart", cls=SessionCommand)
@click.argument("graph", shell_complete=complete_graphs)
@click.option("--service", metavar="NAME", help="Only this service.")
@click.option("--replica", metavar="ID", help="Only this replica.")
@_wait
@_timeout
@click.pass_obj
def restart_command(
    session: Session, graph: str, service: str | None, replica: str | None, wait: bool, timeout: float
) -> None:
    """Restart every replica of GRAPH, or those of one service: one at a time, each beside its successor where there is
    room. One that is named restarts at once."""
    if replica is not None:
        replica = lookup.find_replica(session.client, session.project, replica).id
    state = session.client.send(calls.restart(graph, service=service, replica=replica, project=session.project))
    _finish(session, state, "ready", "restarting", wait, timeout)


@click.command("drain", cls=SessionCommand)
@click.argument("graph", shell_complete=complete_graphs)
@click.option("--service", metavar="NAME", help="Every replica of this service.")
@click.option("--replica", metavar="ID", help="This replica.")
@click.option("--drain", type=Duration(), help="How long running requests may take; the service's own by default.")
@_wait
@_timeout
@click.pass_obj
def drain_command(
    session: Session,
    graph: str,
    service: str | None,
    replica: str | None,
    drain: float | None,
    wait: bool,
    timeout: float,
) -> None:
    """Let a replica of GRAPH, or all of one service, finish what they have begun; fresh ones take their place."""
    if (service is None) == (replica is None):
        raise click.UsageError("name one: --service NAME or --replica ID")
    if replica is not None:
        replica = lookup.find_replica(session.client, session.project, replica).id
    call = calls.drain(graph, service=service, replica=replica, timeout=drain, project=session.project)
    _finish(session, session.client.send(call), "ready", "draining", wait, timeout)


@click.command("stop", cls=SessionCommand)
@_graphs
@click.option("--drain", type=Duration(), help="How long running requests may take; each service's own by default.")
@_wait
@_timeout
@click.pass_obj
def stop_command(session: Session, graphs: tuple[str, ...], drain: float | None, wait: bool, timeout: float) -> None:
    """Drain and stop graphs, dependants first. They stay known: `start` brings them back."""
    for name in graphs:
        state = session.client.send(calls.stop(name, timeout=drain, project=session.project))
        _finish(session, state, "stopped", "stopping", wait, timeout)


@click.command("start", cls=SessionCommand)
@_graphs
@_wait
@_timeout
@click.pass_obj
def start_command(session: Session, graphs: tuple[str, ...], wait: bool, timeout: float) -> None:
    """Start graphs that were stopped."""
    for name in graphs:
        state = session.client.send(calls.start(name, project=session.project))
        _finish(session, state, "ready", "starting", wait, timeout)


@click.command("rm", cls=SessionCommand)
@_graphs
@_wait
@_timeout
@click.pass_obj
def rm_command(session: Session, graphs: tuple[str, ...], wait: bool, timeout: float) -> None:
    """Stop graphs and forget them, with their revisions."""
    for name in graphs:
        session.client.send(calls.remove(name, project=session.project))
        if wait:
            with shown_progress() as progress:
                wait_for(session.client, name, "removed", project=session.project, timeout=timeout, progress=progress)
        message = f"graph {name} removed" if wait else f"graph {name} is being removed"
        gone = {"name": name, "project": session.project, "message": message}
        print_one(session, gone, name=name, text=lambda g: [g["message"]])


def _finish(session: Session, graph: Graph, goal: Goal, verb: str, wait: bool, timeout: float) -> None:
    if wait:
        graph = settle(session, graph, goal, timeout)
    text = graph.state.value if wait else verb
    print_one(session, graph, name=graph.name, text=lambda g: [f"graph {g.name}: {text}"])
