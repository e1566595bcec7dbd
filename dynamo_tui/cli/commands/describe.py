"""`describe`: a graph or a replica in full."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from dynamo_tui.cli import columns, lookup, quantities
from dynamo_tui.cli.output import Table, coloured, print_one
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs
from dynamo_tui.client import calls
from dynamo_tui.client.errors import NotFound
from dynamod.schema.events import Event
from dynamod.schema.graphs import Graph, Replica

RECENT_EVENTS = 10


class GraphDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What `describe GRAPH --json` prints."""

    graph: Graph
    replicas: list[Replica]
    events: list[Event]


@click.command("describe", cls=SessionCommand)
@click.argument("name", metavar="GRAPH|REPLICA", shell_complete=complete_graphs)
@click.pass_obj
def command(session: Session, name: str) -> None:
    """Show a graph (services, replicas, latest events) or a replica in full."""
    client = session.client
    try:
        graph = client.send(calls.graph(name, project=session.project))
    except NotFound as unknown:
        try:
            replica = lookup.find_replica(client, session.project, name)
        except lookup.UnknownReplica:
            raise unknown from None
        print_one(session, replica, name=replica.id, text=replica_lines)
        return
    last = client.send(calls.info()).last_seq
    description = GraphDescription(
        graph=graph,
        replicas=lookup.replicas(client, session.project, name),
        events=_recent(session, name, last),
    )
    print_one(session, description, name=graph.name, text=_graph_lines)


def _recent(session: Session, graph: str, last: int) -> list[Event]:
    """The last few events of the graph among the latest of all."""
    start = max(0, last - 500)
    page = session.client.send(calls.events(after=start, limit=500, project=session.project, graph=graph))
    return page.items[-RECENT_EVENTS:]


def _graph_lines(description: GraphDescription) -> Iterator[str]:
    graph = description.graph
    yield from _fields(
        {
            "Graph": graph.name,
            "Project": graph.project,
            "State": f"{coloured(graph.state.value)} ({graph.reason.value})",
            "Message": graph.message,
            "Address": graph.address or "",
            "Entry": graph.entry,
            "Revision": f"{graph.revision} ({graph.digest[:12]})",
            "Driver": graph.driver,
            "Created": f"{quantities.clock(graph.created_at)} ({quantities.age(graph.created_at)} ago)",
        }
    )
    yield ""
    yield from Table(columns.SERVICES).lines(graph.services)
    if description.replicas:
        yield ""
        yield from Table(columns.REPLICAS).lines(description.replicas)
    if description.events:
        yield ""
        yield from Table(columns.EVENTS).lines(description.events)


def replica_lines(replica: Replica) -> Iterator[str]:
    """A replica's fields as people read them."""
    end = columns.last_exit(replica)
    yield from _fields(
        {
            "Replica": replica.id,
            "Graph": f"{replica.graph} (project {replica.project})",
            "Service": f"{replica.service} #{replica.index}",
            "State": f"{coloured(replica.state.value)} ({replica.reason.value})",
            "Message": replica.message,
            "Progress": replica.progress,
            "Revision": str(replica.revision),
            "Driver": replica.driver,
            "Pid": str(replica.pid or ""),
            "Container": replica.container or "",
            "Host": replica.host,
            "Address": replica.address or "",
            "GPUs": ", ".join(f"{g.index} ({g.uuid}, share {g.share:g})" for g in replica.gpus),
            "Restarts": str(replica.restarts),
            "Next retry": quantities.clock(replica.next_retry_at) if replica.next_retry_at else "",
            "Last exit": end,
            "Created": quantities.clock(replica.created_at),
            "Started": quantities.clock(replica.started_at) if replica.started_at else "",
            "Ready": quantities.clock(replica.ready_at) if replica.ready_at else "",
        }
    )


def _fields(fields: dict[str, str]) -> Iterator[str]:
    """Name and value, one a line; what is empty is left out."""
    width = max(len(k) for k in fields) + 2
    return (f"{k + ':':<{width}}{v}" for k, v in fields.items() if v)
