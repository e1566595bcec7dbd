"""`graphs` and `ps`: what there is, once or as it changes."""

from __future__ import annotations

from typing import Any, TypeVar

import click
import msgspec

from dynamo_tui.cli import columns, lookup
from dynamo_tui.cli.output import Column, Table, print_json_line, print_rows
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs
from dynamo_tui.client import calls, streams
from dynamod.schema.graphs import Graph, Replica

T = TypeVar("T", Graph, Replica)


@click.command("graphs", cls=SessionCommand)
@click.option("-w", "--watch", is_flag=True, help="Go on, and print every graph that changes.")
@click.pass_obj
def graphs_command(session: Session, watch: bool) -> None:
    """List graphs."""
    after = session.client.send(calls.info()).last_seq if watch else 0
    project = session.project
    rows = list(lookup.every(session.client, lambda at: calls.graphs(project=project, after=at, limit=lookup.PAGE)))
    if not watch:
        empty = f"no graphs in project {project}; submit one: dynamoctl submit MODULE:CLASS"
        print_rows(session, rows, columns.GRAPHS, name=lambda g: g.name, empty=empty)
        return
    _watch(session, rows, columns.GRAPHS, Graph, after, None)


@click.command("ps", cls=SessionCommand)
@click.argument("graph", required=False, shell_complete=complete_graphs)
@click.option("--service", metavar="NAME", help="Only replicas of this service.")
@click.option("-w", "--watch", is_flag=True, help="Go on, and print every replica that changes.")
@click.pass_obj
def command(session: Session, graph: str | None, service: str | None, watch: bool) -> None:
    """List replicas, of GRAPH or of all graphs: state, reason and pid."""
    after = session.client.send(calls.info()).last_seq if watch else 0
    rows = lookup.replicas(session.client, session.project, graph, service)
    if not watch:
        print_rows(session, rows, columns.REPLICAS, name=lambda r: r.id, empty="no replicas")
        return
    _watch(session, rows, columns.REPLICAS, Replica, after, graph, service)


def _watch(
    session: Session,
    rows: list[T],
    shown: tuple[Column[T], ...],
    kind: type[T],
    after: int,
    graph: str | None,
    service: str | None = None,
) -> None:
    """Print the rows, and then each one whose state an event changes, in the table's form or a JSON object a line."""
    table = Table(shown, wide=session.output == "wide")
    if session.json:
        for row in rows:
            print_json_line(row)
    else:
        for line in table.lines(rows):
            click.echo(line)
    call = streams.events(after=after, project=session.project, graph=graph, service=service)
    for event in session.client.follow(call, pause=session.pause):
        changed = _changed(event.data, kind)
        if changed is None:
            continue
        if session.json:
            print_json_line(changed)
        else:
            click.echo(table.lines([changed], header=False)[0])


def _changed(data: dict[str, Any], kind: type[T]) -> T | None:
    """The object that an event carries, when it is of the kind that is watched."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError:
        return None
