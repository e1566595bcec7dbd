"""How samples are stored in the metrics file, in three tiers of growing step and age.

Points are sparse: one is written when a value changed, and a NULL when its replica went away. A tier keeps
the last value of each of its steps, stamped with the step's end. Histograms are one point: a packed vector
(see `samples.Value`). All of it runs in the file's thread.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import msgspec

from dynamod.observe.metrics.file import TIERS, Tier
from dynamod.observe.metrics.samples import SeriesKey, Value

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
  id INTEGER PRIMARY KEY, graph TEXT NOT NULL, service TEXT NOT NULL, replica TEXT NOT NULL, name TEXT NOT NULL,
  labels TEXT NOT NULL, kind TEXT NOT NULL, bounds TEXT NOT NULL, UNIQUE (graph, replica, name, labels)
);
CREATE INDEX IF NOT EXISTS series_by_name ON series (graph, name);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
"""
_POINTS = "CREATE TABLE IF NOT EXISTS {table} (series INTEGER, t INTEGER, value, PRIMARY KEY (series, t)) WITHOUT ROWID"


@dataclass(frozen=True)
class SeriesInfo:
    """One series as it is stored. `bounds` are a histogram's."""

    id: int
    service: str
    replica: str
    name: str
    labels: dict[str, str]
    kind: str
    bounds: tuple[float, ...]


@dataclass(frozen=True)
class Owner:
    """Whose series they are: `graph` is `<project>/<graph>`."""

    graph: str
    service: str
    replica: str


@dataclass(frozen=True)
class Point:
    """One change. `kind` and `bounds` are needed the first time a series is seen."""

    owner: Owner
    key: SeriesKey
    t: float
    value: Value | None
    kind: str
    bounds: tuple[float, ...] = ()


class MetricStore:
    """Makes its tables where they are missing; used in the thread of the connection."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._db.executescript(_SCHEMA)
        for tier in TIERS:
            self._db.execute(_POINTS.format(table=_table(tier)))
        self._ids: dict[tuple[Owner, SeriesKey], int] = {}

    def write(self, points: Sequence[Point]) -> None:
        """Append points to every tier. The last value within a tier's step wins."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            rows = [(self._series_id(point), ceil(point.t), pack(point.value)) for point in points]
            for tier in TIERS:
                last = {(series, tier.end_of(t)): value for series, t, value in rows}
                self._db.executemany(
                    f"INSERT OR REPLACE INTO {_table(tier)} VALUES (?, ?, ?)",  # noqa: S608 - a table of ours
                    ((series, t, value) for (series, t), value in last.items()),
                )
            if points:
                newest = max(point.t for point in points)
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('written', ?)", (newest,))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk has rolled it back already
                self._db.execute("ROLLBACK")
            self._ids.clear()
            raise

    def mark_interrupted(self) -> None:
        """End every series where the last writer stopped: what happened since then, nobody measured."""
        row = self._db.execute("SELECT value FROM meta WHERE key = 'written'").fetchone()
        if row is None:
            return
        at = ceil(row[0]) + 1
        self._db.execute("BEGIN IMMEDIATE")
        for tier in TIERS:
            self._db.execute(
                f"INSERT OR IGNORE INTO {_table(tier)} SELECT id, ?, NULL FROM series",  # noqa: S608
                (tier.end_of(at),),
            )
        self._db.execute("DELETE FROM meta WHERE key = 'written'")
        self._db.execute("COMMIT")

    def prune(self, now: float) -> None:
        """Delete what is older than its tier keeps, and series without any point."""
        self._db.execute("BEGIN IMMEDIATE")
        for tier in TIERS:
            self._db.execute(f"DELETE FROM {_table(tier)} WHERE t < ?", (int(now) - tier.keep,))  # noqa: S608
        coarsest = _table(TIERS[-1])
        gone = self._db.execute(
            f"DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM {coarsest} WHERE series = id)"  # noqa: S608
        ).rowcount
        self._db.execute("COMMIT")
        if gone:
            self._ids.clear()
        self._db.execute("PRAGMA incremental_vacuum(2000)")

    def names(self, graph: str) -> list[str]:
        rows = self._db.execute("SELECT DISTINCT name FROM series WHERE graph = ? ORDER BY name", (graph,))
        return [row[0] for row in rows]

    def find(
        self, graph: str, name: str, *, service: str | None = None, replica: str | None = None
    ) -> list[SeriesInfo]:
        rows = self._db.execute(
            "SELECT id, service, replica, name, labels, kind, bounds FROM series WHERE graph = ? AND name = ?"
            " AND (? IS NULL OR service = ?) AND (? IS NULL OR replica = ?) ORDER BY service, replica, labels",
            (graph, name, service, service, replica, replica),
        )
        return [
            SeriesInfo(i, s, r, n, msgspec.json.decode(labels), kind, _bounds(bounds))
            for i, s, r, n, labels, kind, bounds in rows
        ]

    def points(self, series: int, tier: Tier, since: float, until: float) -> list[tuple[int, Value | None]]:
        """Points in the range, preceded by the last one before it (so that a value can be carried forward)."""
        before = self._db.execute(
            f"SELECT t, value FROM {_table(tier)} WHERE series = ? AND t < ? ORDER BY t DESC LIMIT 1",  # noqa: S608
            (series, int(since)),
        ).fetchall()
        rows = self._db.execute(
            f"SELECT t, value FROM {_table(tier)} WHERE series = ? AND t >= ? AND t <= ? ORDER BY t",  # noqa: S608
            (series, int(since), int(until)),
        ).fetchall()
        return [(t, unpack(value)) for t, value in (*before, *rows)]

    def _series_id(self, point: Point) -> int:
        known = self._ids.get((point.owner, point.key))
        if known is not None:
            return known
        name, labels = point.key
        owner = point.owner
        text = msgspec.json.encode(dict(labels), order="sorted").decode()
        bounds = ",".join(map(repr, point.bounds))
        row = self._db.execute(
            "INSERT INTO series (graph, service, replica, name, labels, kind, bounds) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (graph, replica, name, labels) DO UPDATE SET kind = excluded.kind,"
            " bounds = CASE excluded.bounds WHEN '' THEN bounds ELSE excluded.bounds END RETURNING id",
            (owner.graph, owner.service, owner.replica, name, text, point.kind, bounds),
        ).fetchone()
        self._ids[point.owner, point.key] = row[0]
        return int(row[0])


def _table(tier: Tier) -> str:
    return f"points_{tier.step}"


def pack(value: Value | None) -> float | bytes | None:
    if isinstance(value, tuple):
        return struct.pack(f"<{len(value)}d", *value)
    return value


def unpack(value: float | bytes | None) -> Value | None:
    if isinstance(value, bytes):
        return struct.unpack(f"<{len(value) // 8}d", value)
    return None if value is None else float(value)


def _bounds(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(",")) if text else ()
