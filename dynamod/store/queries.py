"""What is read from the database rather than from the engine's memory: everything at start, history later."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, select

from dynamod.core.errors import Gone
from dynamod.core.records import BuildRecord, ClaimRecord, GraphRecord, ReplicaRecord, RevisionRecord
from dynamod.schema.events import Event
from dynamod.schema.states import Action
from dynamod.store import tables
from dynamod.store.changes import event_of


class Everything(NamedTuple):
    graphs: list[GraphRecord]
    revisions: list[RevisionRecord]
    replicas: list[ReplicaRecord]
    claims: list[ClaimRecord]


def everything(connection: Connection) -> Everything:
    """All control state, as one consistent snapshot."""
    return Everything(
        [GraphRecord(**row._mapping) for row in connection.execute(select(tables.graphs))],
        [RevisionRecord(**row._mapping) for row in connection.execute(select(tables.revisions))],
        [ReplicaRecord(**row._mapping) for row in connection.execute(select(tables.replicas))],
        [ClaimRecord(**row._mapping) for row in connection.execute(select(tables.gpu_claims))],
    )


class EventFilter(NamedTuple):
    """None matches everything."""

    project: str | None = None
    graph: str | None = None
    service: str | None = None
    replica: str | None = None
    actions: frozenset[Action] | None = None


def matches(event: Event, only: EventFilter) -> bool:
    return (
        only.project in (None, event.project)
        and only.graph in (None, event.graph)
        and only.service in (None, event.service)
        and only.replica in (None, event.replica)
        and (only.actions is None or event.action in only.actions)
    )


def events_after(connection: Connection, after: int, limit: int, only: EventFilter) -> list[Event]:
    """At most `limit` events with a sequence number above `after`, oldest first.

    Raises:
        Gone: some of them are no longer kept, or there is no event of that number yet: the store is another one.
    """
    oldest, newest = connection.execute(select(func.min(tables.events.c.seq), func.max(tables.events.c.seq))).one()
    if after > (newest or 0):
        raise Gone(after, last=newest or 0)
    if oldest is not None and after + 1 < oldest:
        raise Gone(after, oldest=oldest)
    query = _filtered(select(tables.events).where(tables.events.c.seq > after), only)
    rows = connection.execute(query.order_by(tables.events.c.seq).limit(limit))
    return [event_of(row._mapping) for row in rows]


def latest_events(connection: Connection, limit: int, only: EventFilter) -> list[Event]:
    """The newest events that match, oldest first."""
    query = _filtered(select(tables.events), only).order_by(tables.events.c.seq.desc()).limit(limit)
    return [event_of(row._mapping) for row in connection.execute(query)][::-1]


def plan_row(connection: Connection, plan_id: str) -> dict[str, Any] | None:
    row = connection.execute(select(tables.plans).where(tables.plans.c.id == plan_id)).one_or_none()
    return None if row is None else dict(row._mapping)


def builds(connection: Connection) -> list[BuildRecord]:
    """All builds, by name, the newest of each name first."""
    table = tables.builds
    rows = connection.execute(select(table).order_by(table.c.name, table.c.stored_at.desc(), table.c.version))
    return [BuildRecord(**row._mapping) for row in rows]


def builds_called(connection: Connection, name: str, version: str | None) -> list[BuildRecord]:
    """The build `name:version`, or all of that name, the newest first."""
    table = tables.builds
    query = select(table).where(table.c.name == name).order_by(table.c.stored_at.desc(), table.c.version)
    if version is not None:
        query = query.where(table.c.version == version)
    return [BuildRecord(**row._mapping) for row in connection.execute(query)]


def builds_of_digest(connection: Connection, beginning: str) -> list[BuildRecord]:
    """Those whose digest begins so, the newest first."""
    table = tables.builds
    query = select(table).where(table.c.digest.startswith(beginning, autoescape=True))
    rows = connection.execute(query.order_by(table.c.stored_at.desc(), table.c.name, table.c.version))
    return [BuildRecord(**row._mapping) for row in rows]


def _filtered(query: Select[Any], only: EventFilter) -> Select[Any]:
    for name in ("project", "graph", "service", "replica"):
        value = getattr(only, name)
        if value is not None:
            query = query.where(tables.events.c[name] == value)
    if only.actions is not None:
        query = query.where(tables.events.c.action.in_(only.actions))
    return query
