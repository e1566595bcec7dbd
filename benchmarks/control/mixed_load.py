"""The daemon's database under everything that a daemon does to it, for as long as you like.

    python -m benchmarks.control.mixed_load --minutes 60 [--rate 500] [--json]

At once, on one SQLite file: replicas change state (each change with its event), graphs with revisions, replicas and
GPU claims come and go, claims collide, old events are tidied away, a follower counts the events' numbers, pages of
history and whole snapshots are read, an operator's program reads the file and makes backups of it, and metrics are
written, queried and pruned in their own file. Ends with 1 when anything was refused that should not have been: a lock
that was not given, a gap in the numbers, a device that was oversold, a backup that is not whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from msgspec.structs import replace
from sqlalchemy import func, select

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamod.core.errors import Conflict, EngineError
from dynamod.core.records import ClaimRecord, GraphRecord, ReplicaRecord, RevisionRecord
from dynamod.engine.feed import Feed
from dynamod.observe.metrics.file import MetricsFile
from dynamod.observe.metrics.store import MetricStore, Owner, Point
from dynamod.schema import Action
from dynamod.schema.states import ReplicaState
from dynamod.store import tables
from dynamod.store.changes import Draft, Transaction
from dynamod.store.database import Store
from dynamod.store.queries import EventFilter, events_after, everything, latest_events

CHANGERS, SUBMITTERS, REPLICAS, DEVICES = 16, 4, 100, 8
EVENTS_KEPT = 20_000
SPEC = GraphSpec(name="g", target="m:A", entry="A", services=(ServiceSpec(name="A", target="m:A"),))


@dataclass
class Report:
    """`refused` counts claims that collided, which is right; `errors` is what should not be."""

    seconds: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    commit_ms: list[float] = field(default_factory=list)
    rss_mib: list[int] = field(default_factory=list)
    database_kib: list[int] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        times = sorted(self.commit_ms) or [0.0]
        return {
            "seconds": round(self.seconds, 1),
            "done": dict(self.done),
            "refused": self.refused,
            "errors": dict(self.errors),
            "rss_mib": self.rss_mib,
            "database_kib": self.database_kib,
            "changes_per_s": round(self.done["changes"] / self.seconds, 1),
            "commit_ms_p50": round(times[len(times) // 2], 2),
            "commit_ms_p99": round(times[int(len(times) * 0.99)], 2),
            "commit_ms_max": round(times[-1], 2),
        }


class MixedLoad:
    """Runs until its deadline; every activity is a loop that says what it did and what went wrong."""

    def __init__(self, directory: Path, store: Store, *, seconds: float, rate: float, seed: int) -> None:
        self.directory = directory
        self.store = store
        self.feed = Feed(store, backlog=10_000)
        self.report = Report()
        self.chance = random.Random(seed)
        self.rate = rate
        self.began = time.monotonic()
        self.end = self.began + seconds

    async def run(self) -> Report:
        await self._commit(self._graph("steady"), [self._replica("steady", n) for n in range(REPLICAS)])
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            for n in range(CHANGERS):
                group.create_task(self._again("changes", CHANGERS / self.rate, self._change))
                if n < SUBMITTERS:
                    group.create_task(self._again("graphs", 0.2, self._come_and_go))
            group.create_task(self._again("tidied", 1.0, self._tidy))
            group.create_task(self._again("pages", 0.05, self._page))
            group.create_task(self._again("snapshots", 0.5, self._snapshot))
            group.create_task(self._again("foreign reads", 0.2, lambda: asyncio.to_thread(self._read_from_outside)))
            group.create_task(self._again("backups", 5.0, lambda: asyncio.to_thread(self._back_up)))
            group.create_task(self._metrics())
            group.create_task(self._watch_size())
        self.report.seconds = time.monotonic() - self.began
        return self.report

    async def _again(self, what: str, every: float, act: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < self.end:
            started = time.monotonic()
            try:
                await act()
                self.report.done[what] += 1
            except (EngineError, sqlite3.Error, AssertionError) as error:
                self.report.errors[f"{what}: {error}"] += 1
            await asyncio.sleep(max(0.0, started + every - time.monotonic()))

    async def _commit(self, graph: GraphRecord, replicas: list[ReplicaRecord], *claims: ClaimRecord) -> None:
        transaction = Transaction()
        transaction.ensure_row(tables.projects, {"name": "default", "created_at": 0.0})
        transaction.put(graph)
        transaction.put(RevisionRecord(graph_id=graph.id, number=1, digest="d", spec=SPEC, envs={}, created_at=0.0))
        for record in replicas:
            transaction.put(record)
        for claim in claims:
            transaction.claim(claim)
        transaction.event(_draft(Action.GRAPH_CREATED, graph.name))
        await self._write(transaction)

    async def _write(self, transaction: Transaction) -> None:
        started = time.perf_counter()
        await self.store.commit(transaction, self.feed.publish)
        self.report.commit_ms.append(1000 * (time.perf_counter() - started))
        if len(self.report.commit_ms) > 1_000_000:  # hours of it: a random half keeps the quantiles and the memory
            self.report.commit_ms = self.chance.sample(self.report.commit_ms, 500_000)

    async def _change(self) -> None:
        record = self._replica("steady", self.chance.randrange(REPLICAS))
        state = self.chance.choice((ReplicaState.STARTING, ReplicaState.READY, ReplicaState.UNREADY))
        transaction = Transaction()
        transaction.put(replace(record, state=state, updated_at=time.time()))
        transaction.event(_draft(Action.REPLICA_STATE, "steady", record.id))
        await self._write(transaction)

    async def _come_and_go(self) -> None:
        """A graph with a replica on some device, or a collision that changes nothing."""
        graph = self._graph(f"g{self.chance.randrange(1 << 40):x}")
        replica = self._replica(graph.name, 1)
        device = self.chance.randrange(DEVICES)
        share = self.chance.choice((0.25, 0.5, 1.0))
        claim = ClaimRecord(
            uuid=f"GPU-{device}",
            slot=self.chance.randrange(4),
            index=device,
            share=share,
            replica_id=replica.id,
            created_at=0.0,
        )
        try:
            await self._commit(graph, [replica], claim)
        except EngineError as error:
            if not isinstance(error, Conflict) and "UNIQUE" not in str(error):
                raise
            self.report.refused += 1
            return
        await asyncio.sleep(0.1)
        transaction = Transaction()
        transaction.delete(tables.gpu_claims, uuid=claim.uuid, slot=claim.slot)
        transaction.delete(tables.graphs, id=graph.id)
        transaction.event(_draft(Action.GRAPH_REMOVED, graph.name))
        await self._write(transaction)

    async def _tidy(self) -> None:
        transaction = Transaction()
        transaction.delete_where(tables.events.delete().where(tables.events.c.seq <= self.feed.last_seq - EVENTS_KEPT))
        await self._write(transaction)

    async def _page(self) -> None:
        await self.store.read(lambda c: latest_events(c, 50, EventFilter(graph="steady")))
        after = max(0, self.feed.last_seq - 200)
        page = await self.store.read(lambda c: events_after(c, after, 200, EventFilter()))
        assert [e.seq for e in page] == list(range(after + 1, after + 1 + len(page))), "a page has a gap"

    async def _snapshot(self) -> None:
        found = await self.store.read(everything)
        assert sum(r.graph == "steady" for r in found.replicas) == REPLICAS, "a replica is missing"
        held: dict[str, float] = {}
        for claim in found.claims:
            held[claim.uuid] = held.get(claim.uuid, 0.0) + claim.share
        assert all(share <= 1.0 for share in held.values()), "a device is oversold"

    def _read_from_outside(self) -> None:
        """What an operator's own program does: opens the file, reads, leaves."""
        with closing(sqlite3.connect(self.directory / "store.db", timeout=30.0)) as connection:
            connection.execute("SELECT count(*), max(seq) FROM events").fetchone()

    def _back_up(self) -> None:
        target = self.directory / "backup.db"
        target.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.directory / "store.db", timeout=30.0)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
        with closing(sqlite3.connect(target)) as backup:
            assert backup.execute("PRAGMA integrity_check").fetchone() == ("ok",), "a backup is not whole"
            first, last, count = backup.execute("SELECT min(seq), max(seq), count(*) FROM events").fetchone()
            assert last - first + 1 == count, "a backup has a gap"

    async def _follow(self) -> None:
        """A follower sees every number once, from the first on."""
        async with self.feed.subscribe(0) as events:
            expected = 1
            while time.monotonic() < self.end:
                try:
                    async with asyncio.timeout(1.0):
                        seq = (await anext(events)).seq
                except TimeoutError:
                    continue
                if seq != expected:
                    self.report.errors[f"the follower got {seq} in the place of {expected}"] += 1
                expected = seq + 1
                self.report.done["followed"] += 1

    async def _metrics(self) -> None:
        """A sample a second of each replica, as the daemon's collector writes them, all in one thread."""
        file = MetricsFile(self.directory / "metrics.db")
        samples = await file.run(MetricStore)
        owners = [Owner("default/steady", "A", f"steady-{n}") for n in range(REPLICAS)]

        async def sample() -> None:
            now = time.time()
            points = [
                Point(owner, (f"metric_{n}", ()), now, self.chance.random(), "gauge")
                for owner in owners
                for n in range(20)
            ]
            await file.run(lambda _: samples.write(points))
            await file.run(lambda _: samples.prune(now))

        await self._again("metric batches", 1.0, sample)
        await file.close()

    async def _watch_size(self) -> None:
        process = psutil.Process()
        every = max(1.0, (self.end - self.began) / 12)
        while time.monotonic() < self.end:
            await asyncio.sleep(every)
            self.report.rss_mib.append(process.memory_info().rss >> 20)
            self.report.database_kib.append(sum(p.stat().st_size for p in self.directory.glob("store.db*")) >> 10)

    def _graph(self, name: str) -> GraphRecord:
        return GraphRecord(
            id=name, project="default", name=name, driver="process", revision=1, created_at=0.0, updated_at=0.0
        )

    def _replica(self, graph: str, number: int) -> ReplicaRecord:
        return ReplicaRecord(
            id=f"{graph}-a-{number}",
            graph_id=graph,
            project="default",
            graph=graph,
            service="A",
            index=number,
            revision=1,
            driver="process",
            created_at=0.0,
            updated_at=0.0,
        )


def _draft(action: Action, graph: str, replica: str | None = None) -> Draft:
    return Draft(at=time.time(), actor="benchmark", action=action, project="default", graph=graph, replica=replica)


async def run(directory: Path, *, seconds: float, rate: float, seed: int = 1) -> Report:
    """The whole load on a new database in `directory`."""
    store = await Store.open(directory / "store.db")
    try:
        report = await MixedLoad(directory, store, seconds=seconds, rate=rate, seed=seed).run()
        rows = await store.read(lambda c: c.scalar(select(func.count()).select_from(tables.graphs)))
        if rows != 1:
            report.errors[f"{rows - 1 if rows else 0} graphs outlived their deletion"] += 1
        return report
    finally:
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=500.0, help="state changes a second that are asked for")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mixed-load-") as name:
        report = asyncio.run(run(Path(name), seconds=60 * options.minutes, rate=options.rate, seed=options.seed))
    summary = report.summary()
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        for key, value in summary.items():
            print(f"{key:>16}  {value}")
    sys.exit(1 if report.errors else 0)


if __name__ == "__main__":
    main()
