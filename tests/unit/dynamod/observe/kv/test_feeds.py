"""Feeds over a real runtime: a router's endpoint, discovery, snapshots and deltas."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dynamo.runtime import DistributedRuntime, ReplicaStatus
from dynamo.runtime.events import SnapshotPublisher
from dynamo.runtime.metrics import Registry
from dynamod.core.errors import SlowConsumer
from dynamod.observe.kv import feeds as kv_feeds
from dynamod.observe.kv.feeds import KvFeeds, KvWatcher
from dynamod.observe.kv.history import KvHistory
from dynamod.observe.kv.picture import KvPicture
from dynamod.observe.metrics.file import MetricsFile
from dynamod.observe.presence import Presence
from dynamod.observe.streams import ReplicaStreams
from tests.unit.dynamod.observe.kv.test_picture import decision

GRAPH = "default/llm"


class Router:
    """Serves `kv_feed` the way a KV router does."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = [{"kind": "config", "block_size": 16, "mode": "kv"}]
        self.publisher = SnapshotPublisher(lambda: list(self.entries))

    def tell(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        self.publisher.publish([entry])


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[DistributedRuntime]:
    made = await DistributedRuntime.connect("memory://", scope=GRAPH, run_dir=tmp_path / "run", metrics=Registry())
    yield made
    await made.shutdown()


@pytest.fixture
async def feeds(runtime: DistributedRuntime, tmp_path: Path) -> AsyncIterator[KvFeeds]:
    async with following(runtime, tmp_path / "metrics.db") as made:
        yield made


@asynccontextmanager
async def following(runtime: DistributedRuntime, path: Path) -> AsyncIterator[KvFeeds]:
    presence, file = Presence(runtime.discovery), MetricsFile(path)
    made = KvFeeds(presence, ReplicaStreams(runtime.plane).feed, KvHistory(file))
    tasks = [asyncio.ensure_future(presence.run()), asyncio.ensure_future(made.run())]
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await file.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_router_is_found_and_what_it_decides_is_seen_at_once(
    runtime: DistributedRuntime, feeds: KvFeeds
) -> None:
    router = Router()
    await router.publisher.serve(runtime.namespace("dynamo").component("Router").endpoint("kv_feed"))
    await runtime.report(ReplicaStatus(replica_id="worker-1", service="Worker", pid=1, host="h", state="ready"))
    worker = f"{await runtime.instance_id():016x}"
    picture = feeds.picture(GRAPH)
    await until(lambda: picture.snapshot(time.time()).block_size == 16)
    with feeds.watch(GRAPH) as watcher:
        waiting = aiter(watcher)
        await anext(waiting)
        router.tell(decision(1, time.time(), worker=worker, overlap=8))
        async with asyncio.timeout(20):
            decisions: list[Any] = []
            while not decisions:
                decisions, _ = await anext(waiting)
    assert [one.seq for one in decisions] == [1]
    (seen,) = picture.snapshot(time.time()).workers
    assert (seen.worker, seen.replica) == (worker, "worker-1")
    assert seen.predicted.ratio_of_sums == 0.8
    await feeds.write()
    now = time.time()
    assert (await feeds.history.totals(GRAPH, now - 60, now + 2, now)).predicted[worker].requests == 1
    await feeds.forget(GRAPH)
    assert feeds.picture(GRAPH).snapshot(now).seq == 0
    assert not (await feeds.history.totals(GRAPH, now - 60, now + 2, now)).predicted


async def test_figures_outlive_the_one_who_watched(runtime: DistributedRuntime, tmp_path: Path) -> None:
    router = Router()
    await router.publisher.serve(runtime.namespace("dynamo").component("Router").endpoint("kv_feed"))
    for seq in (1, 2):
        router.tell(decision(seq, time.time(), overlap=seq))
    router.tell({"kind": "actual", "request_id": "r1", "worker": "a1", "prompt_blocks": 10, "cached_blocks": 3})
    for _ in range(2):
        async with following(runtime, tmp_path / "metrics.db") as feeds:
            await until(lambda feeds=feeds: len(feeds.picture(GRAPH).snapshot(time.time()).decisions) == 2)
            snapshot = feeds.picture(GRAPH).snapshot(time.time())
            assert (snapshot.predicted.requests, snapshot.predicted.blocks_reused) == (2, 3)
            assert (snapshot.actual.requests, snapshot.actual.blocks_reused) == (1, 3)


async def test_a_watcher_that_does_not_keep_up_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_feeds, "MAX_WAITING", 3)
    picture = KvPicture("llm", lambda _: None)
    watcher = KvWatcher(picture)
    for seq in range(5):
        watcher.put(picture.apply(decision(seq, 1.0), 1.0))
    with pytest.raises(SlowConsumer):
        async with asyncio.timeout(10):
            await anext(aiter(watcher))


async def test_a_watcher_of_a_quiet_router_sleeps_and_snapshots_come_at_most_once_a_second() -> None:
    picture = KvPicture("llm", lambda _: None)
    watcher = KvWatcher(picture)
    waiting = aiter(watcher)
    async with asyncio.timeout(20):
        assert await anext(waiting) == ([], True)
        began = time.monotonic()
        watcher.put(picture.apply(decision(1, 1.0), 1.0))
        decisions, due = await anext(waiting)
        assert (len(decisions), due) == (1, False)
        assert await anext(waiting) == ([], True)
        assert time.monotonic() - began > 0.5
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await anext(waiting)
