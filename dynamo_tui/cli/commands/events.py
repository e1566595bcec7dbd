"""`events`: what happened, by whom and why."""

from __future__ import annotations

from collections import deque

import click

from dynamo_tui.cli import columns, lookup
from dynamo_tui.cli.output import Table, print_json_line, print_rows
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs
from dynamo_tui.client import calls, streams
from dynamod.schema.events import Event

_PAGE = 500


@click.command("events", cls=SessionCommand)
@click.argument("graph", required=False, shell_complete=complete_graphs)
@click.option("--service", metavar="NAME", help="Only events of this service.")
@click.option("--replica", metavar="ID", help="Only events of this replica.")
@click.option("--after", type=click.IntRange(0), help="Only events above this sequence number.")
@click.option("-n", "--tail", type=click.IntRange(0), help="Only the last ones.")
@click.option("-w", "--watch", is_flag=True, help="Go on with new events; without --after, only with those.")
@click.pass_obj
def command(
    session: Session,
    graph: str | None,
    service: str | None,
    replica: str | None,
    after: int | None,
    tail: int | None,
    watch: bool,
) -> None:
    """Print events, of GRAPH or of all: a gapless sequence that says what changed, by whom and why."""
    project = session.project
    if watch:
        start = session.client.send(calls.info()).last_seq if after is None and tail is None else after
        rows = [] if tail is None else _events(session, graph, service, replica, after, tail)
        _watch(session, rows, graph, service, replica, rows[-1].seq if rows else start)
        return
    rows = _events(session, graph, service, replica, after, tail)
    print_rows(session, rows, columns.EVENTS, name=lambda e: str(e.seq), empty=f"no events in project {project}")


def _events(
    session: Session, graph: str | None, service: str | None, replica: str | None, after: int | None, tail: int | None
) -> list[Event]:
    every = lookup.every(
        session.client,
        lambda cursor: calls.events(
            after=after if cursor is None else int(cursor),
            limit=_PAGE,
            project=session.project_name,
            graph=graph,
            service=service,
            replica=replica,
        ),
    )
    return list(every if tail is None else deque(every, maxlen=tail))


def _watch(
    session: Session,
    rows: list[Event],
    graph: str | None,
    service: str | None,
    replica: str | None,
    after: int | None,
) -> None:
    table = Table(columns.EVENTS, wide=session.output == "wide")
    if session.json:
        for row in rows:
            print_json_line(row)
    else:
        for line in table.lines(rows):
            click.echo(line)
    call = streams.events(after=after, project=session.project_name, graph=graph, service=service, replica=replica)
    for event in session.client.follow(call, pause=session.pause):
        if session.json:
            print_json_line(event)
        else:
            click.echo(table.lines([event], header=False)[0])
