"""`logs`: a graph's lines, merged by time, once or as they are written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from dynamo_tui.cli import lookup, quantities
from dynamo_tui.cli.output import print_json_line
from dynamo_tui.cli.quantities import Moment
from dynamo_tui.cli.session import Session, SessionCommand, complete_graphs, say
from dynamo_tui.client import calls, streams
from dynamo_tui.client.exchange import Call
from dynamod.schema.graphs import Page
from dynamod.schema.observations import LogGap, LogLine

FOLLOW_TAIL = 100
MAX_TAIL = 10_000
_PAGE = 2000
_COLOURS = ("cyan", "green", "yellow", "blue", "magenta", "bright_cyan", "bright_green", "bright_yellow")


@click.command("logs", cls=SessionCommand)
@click.argument("graph", shell_complete=complete_graphs)
@click.argument("service", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, across restarts and new replicas.")
@click.option("--replica", metavar="ID", help="Only this replica.")
@click.option("-n", "--tail", type=click.IntRange(0, MAX_TAIL), help="Only the last lines; 100 when following.")
@click.option("--since", type=Moment(), help="From then on: 5m (ago), or a time.")
@click.option("--until", type=Moment(), help="Up to then: 5m (ago), or a time.")
@click.option("--regex", metavar="RE", help="Only lines that the expression finds.")
@click.option("--level", type=click.Choice(["debug", "info", "warning", "error"]), help="This level and above.")
@click.option("-t", "--timestamps", is_flag=True, help="Print each line's time.")
@click.pass_obj
def command(
    session: Session,
    graph: str,
    service: str | None,
    follow: bool,
    replica: str | None,
    tail: int | None,
    since: float | None,
    until: float | None,
    regex: str | None,
    level: str | None,
    timestamps: bool,
) -> None:
    """Print the logs of GRAPH, or of one SERVICE of it, all replicas merged by time. Filters run on the server."""
    if replica is not None:
        replica = lookup.find_replica(session.client, session.project, replica).id
    show = _json_line if session.json else _Text(timestamps)
    if follow:
        if until is not None:
            raise click.UsageError("--until has no meaning with --follow")
        _follow(session, graph, show, service, replica, tail, since, regex, level)
        return

    def page(cursor: str | None) -> Call[Page[LogLine]]:
        return calls.logs(
            graph,
            service=service,
            replica=replica,
            tail=tail,
            since=0.0 if tail is None and since is None else since,
            until=until,
            regex=regex,
            level=level,
            after=cursor,
            limit=_PAGE,
            project=session.project,
        )

    lines = lookup.every(session.client, page) if tail is None else session.client.send(page(None)).items
    for line in lines:
        show(line)


def _follow(
    session: Session,
    graph: str,
    show: Callable[[LogLine], None],
    service: str | None,
    replica: str | None,
    tail: int | None,
    since: float | None,
    regex: str | None,
    level: str | None,
) -> None:
    call = streams.logs(
        graph,
        service=service,
        replica=replica,
        tail=FOLLOW_TAIL if tail is None and since is None else tail,
        since=since,
        regex=regex,
        level=level,
        project=session.project,
    )
    for item in session.client.follow(call, pause=session.pause):
        if isinstance(item, LogGap):
            say(f"… {item.skipped:,} lines skipped")
        else:
            show(item)


def _json_line(line: LogLine) -> None:
    print_json_line(line)


class _Text:
    """Lines for people: whose it is, and what it says; a colour for each replica on a terminal."""

    def __init__(self, timestamps: bool) -> None:
        self._timestamps = timestamps
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._colours: dict[str, str] = {}
        self._width = 0

    def __call__(self, line: LogLine) -> None:
        self._width = max(self._width, len(line.replica))
        who = line.replica.ljust(self._width)
        if self._coloured:
            colour = self._colours.setdefault(line.replica, _COLOURS[len(self._colours) % len(_COLOURS)])
            who = click.style(who, fg=colour)
        at = f"{quantities.clock(line.t)} " if self._timestamps else ""
        click.echo(f"{at}{who} | {line.text}")
