"""A transaction as data: what is to be written, in order. The writer turns it into SQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, Delete, Insert, Table, delete, func, insert, select

from dynamod.core.errors import Conflict
from dynamod.core.records import BuildRecord, ClaimRecord, GraphRecord, ReplicaRecord, RevisionRecord
from dynamod.schema.events import Event, Told
from dynamod.schema.secrecy import redact_text
from dynamod.store import tables

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

_TABLES: dict[type[msgspec.Struct], Table] = {
    GraphRecord: tables.graphs,
    RevisionRecord: tables.revisions,
    ReplicaRecord: tables.replicas,
    ClaimRecord: tables.gpu_claims,
    BuildRecord: tables.builds,
}


_INSERT_EVENTS = insert(tables.events)


class Draft(Told, frozen=True, kw_only=True):
    """An event without its sequence number, which the writer gives it. `at` in seconds since the epoch."""

    at: float


@dataclass
class Transaction:
    """Changes that are written together or not at all, and the events that tell of them."""

    operations: list[tuple[str, Table, dict[str, Any]]] = field(default_factory=list)
    deletions: list[Delete] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)

    def put(self, record: GraphRecord | RevisionRecord | ReplicaRecord | ClaimRecord | BuildRecord) -> None:
        """Insert the record, or replace the one with its key."""
        table = _TABLES[type(record)]
        self.operations.append(("put", table, msgspec.structs.asdict(record)))

    def put_row(self, table: Table, row: dict[str, Any]) -> None:
        self.operations.append(("put", table, row))

    def ensure_row(self, table: Table, row: dict[str, Any]) -> None:
        """Insert the row unless its key is there."""
        self.operations.append(("ensure", table, row))

    def claim(self, record: ClaimRecord) -> None:
        """Take a share of a device; the transaction fails when it is taken or the device would be oversold."""
        self.operations.append(("claim", tables.gpu_claims, msgspec.structs.asdict(record)))

    def delete(self, table: Table, **key: Any) -> None:
        self.operations.append(("delete", table, key))

    def delete_where(self, statement: Delete) -> None:
        """Housekeeping: rows that are no longer kept."""
        self.deletions.append(statement)

    def event(self, draft: Draft) -> None:
        """Tell of something. Its message loses what looks like a secret: events are read by many, and kept."""
        self.drafts.append(msgspec.structs.replace(draft, message=redact_text(draft.message)))

    def __bool__(self) -> bool:
        return bool(self.operations or self.deletions or self.drafts)


def write(connection: Connection, transaction: Transaction, next_seq: int) -> list[Event]:
    """Write it all; events get the numbers from `next_seq` on.

    Raises:
        Conflict: a GPU share is taken already.
    """
    for kind, table, row in transaction.operations:
        if kind in ("put", "ensure"):
            _put(connection, table, row, replace=kind == "put")
        elif kind == "claim":
            _claim(connection, row)
        else:
            connection.execute(delete(table).filter_by(**row))
    for statement in transaction.deletions:
        connection.execute(statement)
    rows = [{"seq": next_seq + n, **msgspec.structs.asdict(draft)} for n, draft in enumerate(transaction.drafts)]
    if rows:
        connection.execute(_INSERT_EVENTS, rows)
    return [event_of(row) for row in rows]


def event_of(row: Any) -> Event:
    """The wire form of a row of `events`."""
    told = {name: row[name] for name in Told.__struct_fields__}
    return Event(seq=row["seq"], at=datetime.fromtimestamp(row["at"], UTC), **told)


def _put(connection: Connection, table: Table, row: dict[str, Any], *, replace: bool) -> None:
    connection.execute(_upsert(connection.dialect.name, table, replace), row)


@cache
def _upsert(dialect: str, table: Table, replace: bool) -> Insert:
    """Insert, or replace the row with that key; building it costs more than running it."""
    statement = _insert(dialect, table)
    keys = [column.name for column in table.primary_key]
    if not replace:
        return statement.on_conflict_do_nothing(index_elements=keys)
    changed = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def _insert(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """PostgreSQL's dialect costs a third of SQLAlchemy's own import: only those who use it pay."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        return postgresql_insert(table)
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(table)


def _claim(connection: Connection, row: dict[str, Any]) -> None:
    claims = tables.gpu_claims
    taken = connection.scalar(
        select(func.sum(claims.c.share)).where(claims.c.uuid == row["uuid"], claims.c.replica_id != row["replica_id"])
    )
    if (taken or 0.0) + row["share"] > 1.0 + 1e-6:
        raise Conflict(f"GPU {row['index']} ({row['uuid']}) is claimed already")
    connection.execute(insert(claims), row)
