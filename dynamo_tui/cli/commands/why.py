"""`why`: everything that explains one replica, on one screen."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from dynamo_tui.cli import columns, lookup, quantities
from dynamo_tui.cli.output import Table, coloured, print_one
from dynamo_tui.cli.session import Session, SessionCommand
from dynamo_tui.client import calls
from dynamod.schema.events import Event
from dynamod.schema.graphs import Why


@click.command("why", cls=SessionCommand)
@click.argument("replica")
@click.pass_obj
def command(session: Session, replica: str) -> None:
    """Explain REPLICA (an id, its beginning, or SERVICE/INDEX): why it is on its GPU, why it died or waits, and
    when it is tried again."""
    found = lookup.find_replica(session.client, session.project, replica)
    why = session.client.send(calls.why(found.id))
    print_one(session, why, name=found.id, text=_lines)


def _lines(why: Why) -> Iterator[str]:
    replica = why.replica
    yield f"{replica.id}: {coloured(replica.state.value)} ({replica.reason.value})"
    yield why.summary
    if replica.message:
        yield f"  {replica.message}"
    if end := columns.last_exit(replica):
        at = replica.last_exit.at if replica.last_exit else None
        yield f"Last exit: {end}" + (f", {quantities.age(at)} ago" if at else "")
    if replica.next_retry_at:
        yield f"Next retry: {quantities.clock(replica.next_retry_at)}; {replica.restarts} restarts in its window"
    if why.probe:
        yield f"Probe: {why.probe}"
    if why.limits:
        yield f"Limits: {why.limits}"
    yield from _section("Waits for", why.waiting_for)
    yield from _section("Placement", why.placement)
    events = msgspec.convert(why.events, list[Event])
    if events:
        yield ""
        yield from Table(columns.EVENTS).lines(events)
    yield from _section("Last lines of its log", why.log_tail)


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in lines)
