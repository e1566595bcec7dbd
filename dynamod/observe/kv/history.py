"""Hit rates over time: sums for each step, in the metrics file and in its tiers, so that they outlive the daemon.

A row holds the sums of one worker (or of all: the empty string) over the step that ends at `t`. Sums of a finer step
add up to those of a coarser one exactly, and both hit rates follow from them, over any window.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from dynamod.observe.kv.window import Second, Tally
from dynamod.observe.metrics.file import TIERS, MetricsFile, Tier, tier_for
from dynamod.observe.metrics.query import check_range, grid
from dynamod.schema import Series

PRUNE_S = 60.0

_SUMS = (
    *("predicted_requests", "predicted_asked", "predicted_reused", "predicted_ratios"),
    *("actual_requests", "actual_asked", "actual_reused", "actual_ratios"),
    *("avoidable", "novel"),
)
_TABLE = (
    "CREATE TABLE IF NOT EXISTS {table} (graph TEXT NOT NULL, worker TEXT NOT NULL, t INTEGER NOT NULL, "
    + ", ".join(f"{column} REAL NOT NULL" for column in _SUMS)
    + ", PRIMARY KEY (graph, worker, t)) WITHOUT ROWID"
)
_ADD = (
    f"INSERT INTO {{table}} VALUES (?, ?, ?{', ?' * len(_SUMS)})"  # noqa: S608 - tables and columns of ours
    " ON CONFLICT (graph, worker, t) DO UPDATE SET "
    + ", ".join(f"{column} = {column} + excluded.{column}" for column in _SUMS)
)
_WRITTEN = "CREATE TABLE IF NOT EXISTS kv_written (graph TEXT PRIMARY KEY, t REAL NOT NULL) WITHOUT ROWID"

Row = tuple[str, int, tuple[float, ...]]
"""(worker, end of the step, sums)."""


class KvHistory:
    """Keeps and answers for all graphs, named as `<project>/<graph>`. Every method may raise `sqlite3.Error`."""

    def __init__(self, file: MetricsFile) -> None:
        self._file = file
        self._ready = False
        self._pruned = 0.0

    async def add(self, seconds: Mapping[str, Sequence[Second]], now: float) -> None:
        """Add new sums to every tier, and delete what no tier keeps any longer."""
        rows = [
            (graph, worker, second.t + 1, _sums(second, worker))
            for graph, new in seconds.items()
            for second in new
            for worker in {*second.predicted, *second.actual}
        ]
        if rows:
            await self._file.run(lambda database: self._add(database, rows, now))

    async def recent(self, now: float, reach_s: float) -> dict[str, tuple[list[Second], float]]:
        """The last `reach_s` seconds of every graph, as fine as they are kept, and the time of the last of them."""
        return await self._file.run(lambda database: self._recent(database, now, reach_s))

    async def totals(self, graph: str, since: float, until: float, now: float) -> Second:
        """The sums of the steps that end in (since, until], in the finest tier that reaches back to `since`."""
        tier = tier_for(since, TIERS[0].step, now)
        rows = await self._file.run(lambda database: self._rows(database, tier, graph, since, until))
        total = Second(int(until))
        for row in rows:
            total.take(_second(row))
        return total

    async def series(
        self, graph: str, since: float, until: float, step: float, now: float, *, workers: Iterable[str] | None = None
    ) -> list[Series]:
        """Hit rates (both definitions, predicted and actual), the avoidable share, and decisions per second.

        `workers` are instance ids in hex, or the empty string for all together; None: each one that has figures.

        Raises:
            Invalid: a range the wrong way round, or one with too many steps.
        """
        check_range(since, until, step)
        tier = tier_for(since, step, now)
        rows = await self._file.run(lambda database: self._rows(database, tier, graph, since - step, until))
        wanted = sorted({row[0] for row in rows} - {""}) if workers is None else workers
        return [series for worker in wanted for series in _series(worker, rows, since, until, step)]

    async def forget(self, graph: str) -> None:
        """Delete everything about a graph."""

        def delete(database: sqlite3.Connection) -> None:
            self._prepare(database)
            for table in (*map(_table, TIERS), "kv_written"):
                database.execute(f"DELETE FROM {table} WHERE graph = ?", (graph,))  # noqa: S608 - a table of ours

        await self._file.run(delete)

    def _prepare(self, database: sqlite3.Connection) -> None:
        if not self._ready:
            for tier in TIERS:
                database.execute(_TABLE.format(table=_table(tier)))
            database.execute(_WRITTEN)
            self._ready = True

    def _add(
        self, database: sqlite3.Connection, rows: list[tuple[str, str, int, tuple[float, ...]]], now: float
    ) -> None:
        self._prepare(database)
        database.execute("BEGIN IMMEDIATE")
        try:
            for tier in TIERS:
                database.executemany(
                    _ADD.format(table=_table(tier)),
                    ((graph, worker, tier.end_of(t), *sums) for graph, worker, t, sums in rows),
                )
            database.executemany(
                "INSERT INTO kv_written VALUES (?, ?) ON CONFLICT (graph) DO UPDATE SET t = max(t, excluded.t)",
                ((graph, t) for graph, worker, t, _ in rows if worker == ""),
            )
            if now - self._pruned > PRUNE_S:
                self._pruned = now
                for tier in TIERS:
                    database.execute(f"DELETE FROM {_table(tier)} WHERE t < ?", (int(now) - tier.keep,))  # noqa: S608
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:  # a full disk has rolled it back already
                database.execute("ROLLBACK")
            raise

    def _recent(
        self, database: sqlite3.Connection, now: float, reach_s: float
    ) -> dict[str, tuple[list[Second], float]]:
        self._prepare(database)
        found: dict[str, tuple[list[Second], float]] = {}
        for graph, written in database.execute("SELECT graph, t FROM kv_written").fetchall():
            seconds: dict[int, Second] = {}
            since, finer = now - reach_s, sorted(TIERS, key=lambda tier: -tier.step)
            for tier, next_tier in zip(finer, [*finer[1:], None], strict=True):
                until = now + 1 if next_tier is None else now - next_tier.keep
                if until <= since:
                    continue
                for row in self._rows(database, tier, graph, since, until):
                    seconds.setdefault(row[1], Second(row[1] - 1)).take(_second(row))
                since = until
            found[graph] = (list(seconds.values()), written)
        return found

    def _rows(self, database: sqlite3.Connection, tier: Tier, graph: str, since: float, until: float) -> list[Row]:
        self._prepare(database)
        rows = database.execute(
            f"SELECT worker, t, {', '.join(_SUMS)} FROM {_table(tier)}"  # noqa: S608
            " WHERE graph = ? AND t > ? AND t <= ?",
            (graph, since, until),
        )
        return [(worker, t, tuple(sums)) for worker, t, *sums in rows]


def _table(tier: Tier) -> str:
    return f"kv_{tier.step}"


def _sums(second: Second, worker: str) -> tuple[float, ...]:
    predicted = second.predicted.get(worker, Tally())
    actual = second.actual.get(worker, Tally())
    return (
        *(predicted.requests, predicted.asked, predicted.reused, predicted.ratios),
        *(actual.requests, actual.asked, actual.reused, actual.ratios),
        *((second.avoidable, second.novel) if worker == "" else (0, 0)),
    )


def _second(row: Row) -> Second:
    """A row's sums as those of one worker in the second that its step ends with."""
    worker, t, sums = row
    return Second(
        t - 1,
        predicted={worker: _tally(sums[0:4])} if sums[0] else {},
        actual={worker: _tally(sums[4:8])} if sums[4] else {},
        avoidable=int(sums[8]),
        novel=int(sums[9]),
    )


def _tally(sums: Sequence[float]) -> Tally:
    requests, asked, reused, ratios = sums
    return Tally(int(requests), int(asked), int(reused), ratios)


def _series(worker: str, rows: Sequence[Row], since: float, until: float, step: float) -> list[Series]:
    steps = grid(since, until, step)
    sums = [Second(0) for _ in steps.ends]
    for row in rows:
        if row[0] == worker and steps.ends:
            at = -int((steps.ends[0] - row[1]) // step)  # the first step that ends at the row's end or after it
            if 0 <= at < len(sums):
                sums[at].take(_second(row))
    columns: dict[str, list[tuple[float, float | None]]] = {}
    for end, total in zip(steps.ends, sums, strict=True):
        for source, tallies in (("predicted", total.predicted), ("actual", total.actual)):
            rate = tallies.get(worker, Tally()).hit_rate()
            columns.setdefault(f"hit_rate_{source}", []).append((end, rate.ratio_of_sums))
            columns.setdefault(f"hit_rate_{source}_mean", []).append((end, rate.mean_of_ratios))
        columns.setdefault("decisions", []).append((end, total.predicted.get(worker, Tally()).requests / step))
        if worker == "":
            columns.setdefault("avoidable_share", []).append((end, total.avoidable_share))
    return [
        Series(
            name=name,
            unit="1/s" if name == "decisions" else "ratio",
            labels={"worker": worker} if worker else {},
            points=points,
        )
        for name, points in columns.items()
    ]
