from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamod.core.errors import Conflict, Gone, SlowConsumer, StoreError
from dynamod.core.records import ClaimRecord, Doom, GraphRecord, ReplicaRecord, RevisionRecord, Then
from dynamod.engine.feed import Feed
from dynamod.schema import Action, Event, Reason
from dynamod.schema.graphs import ExitInfo, GpuShare
from dynamod.store import tables
from dynamod.store.changes import Draft, Transaction
from dynamod.store.database import Store
from dynamod.store.queries import EventFilter, events_after, everything, latest_events

GRAPH = GraphRecord(
    id="g1", project="default", name="demo", driver="process", revision=1, created_at=1.5, updated_at=2.5
)
SPEC = GraphSpec(name="demo", target="m:A", entry="A", services=(ServiceSpec(name="A", target="m:A"),))
REVISION = RevisionRecord(graph_id="g1", number=1, digest="d", spec=SPEC, envs={"A": "1"}, created_at=1.0)
REPLICA = ReplicaRecord(
    id="r1",
    graph_id="g1",
    project="default",
    graph="demo",
    service="A",
    index=1,
    revision=1,
    driver="process",
    gpus=(GpuShare(uuid="GPU-0", index=0, share=0.5),),
    failures=(1.0, 2.0),
    doom=Doom(Reason.SCALED_DOWN, Then.REMOVE, 3.0),
    last_exit=ExitInfo(code=3, reason=Reason.EXITED_WITH_ERROR),
    created_at=1.0,
    updated_at=1.0,
)


def claim(share: float, slot: int, replica: str) -> ClaimRecord:
    return ClaimRecord(uuid="GPU-0", slot=slot, index=0, share=share, replica_id=replica, created_at=0.0)


def draft(n: int = 0) -> Draft:
    return Draft(
        at=float(n), actor="test", action=Action.GRAPH_UPDATED, project="default", graph="demo", message=str(n)
    )


def whole() -> Transaction:
    transaction = Transaction()
    transaction.ensure_row(tables.projects, {"name": "default", "created_at": 0.0})
    transaction.put(GRAPH)
    transaction.put(REVISION)
    transaction.put(REPLICA)
    transaction.claim(claim(0.5, 0, "r1"))
    transaction.event(draft())
    return transaction


async def commit(store: Store, transaction: Transaction) -> list[Event]:
    return await store.commit(transaction, lambda events: None)


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = request.getfixturevalue("empty_postgres") if request.param == "postgresql" else None
    store = await Store.open(tmp_path / "store.db", url)
    yield store
    await store.close()


@pytest.mark.xdist_group("postgres")
class TestStore:
    async def test_what_is_written_is_read_back(self, store: Store) -> None:
        events = await commit(store, whole())
        assert [e.seq for e in events] == [1]
        stored = await store.read(everything)
        assert stored.graphs == [GRAPH]
        assert stored.revisions == [REVISION]
        assert stored.replicas == [REPLICA]
        assert stored.claims == [claim(0.5, 0, "r1")]

    async def test_a_graph_takes_its_parts_along(self, store: Store) -> None:
        await commit(store, whole())
        transaction = Transaction()
        transaction.delete(tables.graphs, id="g1")
        await commit(store, transaction)
        stored = await store.read(everything)
        assert (stored.graphs, stored.revisions, stored.replicas) == ([], [], [])

    async def test_a_device_is_never_oversold(self, store: Store) -> None:
        await commit(store, whole())
        for share, slot, replica in ((0.6, 1, "r2"), (0.5, 0, "r2"), (1.0, 1, "r2")):
            transaction = Transaction()
            transaction.put(replace(GRAPH, message="half"))
            transaction.claim(claim(share, slot, replica))
            transaction.event(draft())
            with pytest.raises((Conflict, StoreError)):
                await commit(store, transaction)
        stored = await store.read(everything)
        assert stored.graphs == [GRAPH]
        assert len(stored.claims) == 1
        follower = Transaction()
        follower.event(draft())
        assert [e.seq for e in await commit(store, follower)] == [2]

    async def test_numbers_have_no_gaps_whatever_fails(self, store: Store) -> None:
        await commit(store, whole())

        async def one(n: int) -> None:
            transaction = Transaction()
            transaction.event(draft(n))
            if n % 5 == 0:
                transaction.claim(claim(1.0, 0, f"r{n}"))
            try:
                await commit(store, transaction)
            except (Conflict, StoreError):
                assert n % 5 == 0

        await asyncio.gather(*(one(n) for n in range(300)))
        events = await store.read(lambda c: events_after(c, 0, 1000, EventFilter()))
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        assert len(events) == 241

    async def test_a_cancelled_caller_does_not_tear_memory_from_disk(self, store: Store) -> None:
        written: list[Event] = []
        task = asyncio.create_task(store.commit(whole(), written.extend))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        follower = Transaction()
        follower.event(draft())
        await commit(store, follower)
        assert [e.seq for e in written] == [1]

    async def test_events_are_filtered_and_told_when_gone(self, store: Store) -> None:
        transaction = Transaction()
        for n in range(10):
            transaction.event(replace(draft(n), graph="a" if n % 2 else "b"))
        await commit(store, transaction)
        newest = await store.read(lambda c: latest_events(c, 2, EventFilter(graph="a")))
        assert [e.message for e in newest] == ["7", "9"]
        only = await store.read(lambda c: events_after(c, 4, 3, EventFilter(graph="a")))
        assert [e.seq for e in only] == [6, 8, 10]
        pruning = Transaction()
        pruning.delete_where(tables.events.delete().where(tables.events.c.seq <= 5))
        await commit(store, pruning)
        with pytest.raises(Gone) as gone:
            await store.read(lambda c: events_after(c, 3, 10, EventFilter()))
        assert gone.value.oldest == 6
        assert len(await store.read(lambda c: events_after(c, 5, 10, EventFilter()))) == 5


async def tell(store: Store, feed: Feed, count: int) -> None:
    for n in range(count):
        transaction = Transaction()
        transaction.event(draft(n))
        await store.commit(transaction, feed.publish)


async def test_a_subscription_goes_from_stored_to_live_without_a_gap(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "store.db")
    feed = Feed(store, backlog=10_000)
    await tell(store, feed, 1200)
    async with feed.subscribe(3) as subscription:
        live = asyncio.create_task(tell(store, feed, 100))
        got = [(await anext(subscription)).seq for _ in range(1297)]
        await live
    assert got == list(range(4, 1301))
    await store.close()


async def test_a_slow_subscriber_is_dropped_and_told_so(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "store.db")
    feed = Feed(store, backlog=5)
    subscription = feed.subscribe(None)
    await tell(store, feed, 20)
    got = [(await anext(subscription)).seq for _ in range(5)]
    assert got == [1, 2, 3, 4, 5]
    with pytest.raises(SlowConsumer) as slow:
        await anext(subscription)
    assert slow.value.dropped_after == 5
    async with feed.subscribe(slow.value.dropped_after) as again:
        assert (await anext(again)).seq == 6
    await store.close()


@pytest.mark.xdist_group("postgres")
async def test_one_daemon_per_postgresql_database(empty_postgres: str, tmp_path: Path) -> None:
    first = await Store.open(tmp_path / "unused.db", empty_postgres)
    with pytest.raises(StoreError, match="another dynamod"):
        await Store.open(tmp_path / "unused.db", empty_postgres)
    await first.close()


def test_a_new_or_current_schema_is_opened_without_alembic(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; from dynamod.store.database import Store\n"
        "async def main(): await (await Store.open(Path(sys.argv[1]))).close()\n"
        "asyncio.run(main()); print('alembic' in sys.modules)"
    )
    answers = [
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "s.db")], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [answer.stdout.strip() for answer in answers] == ["False", "False"]
