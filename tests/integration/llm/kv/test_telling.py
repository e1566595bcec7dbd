"""What routers tell: each other, and people."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from dynamo.llm.kv.feed import KvFeed
from dynamo.llm.kv.options import RouterOptions
from dynamo.llm.kv.replicas import ReplicaSync
from dynamo.llm.kv.router import KvRouter
from dynamo.llm.kv.router_metrics import HIT_RATE_SUBJECT, HitRateEvents, RouterMetrics
from dynamo.llm.kv.workers import Worker
from dynamo.runtime.events import SnapshotEvent, SnapshotSubscriber
from dynamo.runtime.metrics import Registry
from dynamod.schema import KvDecision, KvPrefix, KvWorker
from tests.integration.llm.kv.conftest import Stage, ask, until


def tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(1000), k=count)


async def test_replicas_know_each_others_requests(stage: Stage) -> None:
    for _ in range(2):
        await stage.worker()
    routers, syncs = [], []
    for _ in range(2):
        router, runtime = await stage.router()
        routers.append(router)
        syncs.append(await ReplicaSync(router, runtime.namespace("ns").component("router")).start())
    one, two = routers
    await until(lambda: all(len(router.workers) == 2 for router in routers))
    await until(lambda: all(sync.others == 1 for sync in syncs))

    def seen(router: Any) -> list[tuple[float, float, float]]:
        active = router.active
        slots = [router.table.slot(worker) for worker in router.workers]
        return [(active.prefill_blocks[s], active.held_blocks[s], active.requests[s]) for s in slots]

    ids = tokens(320)
    first = one.find_best(ids, request_id="a")
    one.routed(first)
    await until(lambda: seen(two) == seen(one))
    assert sum(requests for _, _, requests in seen(two)) == 1
    assert two.find_best(tokens(320, 1)).worker != first.worker
    assert max(c.overlap_blocks for c in two.find_best([*ids, 1]).candidates) == 20
    two.routed(two.find_best(tokens(320, 1), request_id="a"))
    await until(lambda: seen(two) == seen(one))
    one.first_token("a", 0)
    one.progress("a", 100)
    await until(lambda: seen(two) == seen(one))
    one.finished("a")
    await until(lambda: seen(two) == seen(one))
    assert sum(requests for _, _, requests in seen(one)) == 1
    await syncs[1].close()
    await until(lambda: sum(requests for _, _, requests in seen(one)) == 0)
    await syncs[0].close()


async def test_replicas_without_events_know_where_the_others_sent_what(stage: Stage) -> None:
    routers = [KvRouter(RouterOptions(mode="approx-kv")) for _ in range(2)]
    syncs = []
    for router in routers:
        for instance in (1, 2):
            router.add_worker(Worker(instance))
        own = (await stage.runtime()).namespace("ns").component("router")
        syncs.append(await ReplicaSync(router, own).start())
    one, two = routers
    await until(lambda: all(sync.others == 1 for sync in syncs))
    ids = tokens(321)
    first = one.find_best(ids, request_id="a")
    one.routed(first)
    one.first_token("a", 0)
    one.finished("a")
    await until(lambda: not len(two.active) and two.find_best(ids).overlap_blocks == 20)
    assert two.find_best(ids).worker == first.worker
    for sync in syncs:
        await sync.close()


async def test_a_new_replica_starts_from_the_snapshot(stage: Stage) -> None:
    await stage.worker()
    one, runtime = await stage.router()
    first = await ReplicaSync(one, runtime.namespace("ns").component("router")).start()
    await until(lambda: len(one.workers) == 1)
    one.routed(one.find_best(tokens(320), request_id="a"))
    one.first_token("a", 0)
    one.progress("a", 33)
    two, runtime = await stage.router()
    await until(lambda: len(two.workers) == 1)
    second = await ReplicaSync(two, runtime.namespace("ns").component("router")).start()
    await until(lambda: len(two.active) == 1)
    for name in ("prefill_blocks", "held_blocks", "requests"):
        assert getattr(two.active, name).tolist() == getattr(one.active, name).tolist()
    await second.close()
    await first.close()


async def test_a_replica_may_hear_of_requests_before_their_worker(stage: Stage) -> None:
    one, two = KvRouter(), KvRouter()
    one.add_worker(Worker(7))
    runtimes = [await stage.runtime() for _ in range(2)]
    syncs = [
        await ReplicaSync(router, runtime.namespace("ns").component("router")).start()
        for router, runtime in zip((one, two), runtimes, strict=True)
    ]
    await until(lambda: all(sync.others == 1 for sync in syncs))
    for name in ("kept", "ended"):
        one.routed(one.find_best(tokens(320), request_id=name))
    one.first_token("kept", 0)
    one.progress("kept", 40)
    one.finished("ended")
    one.routed(one.find_best(tokens(64, 1), request_id="last"))
    await until(lambda: syncs[1].early == 2)
    two.add_worker(Worker(7))
    assert len(two.active) == 2
    assert two.active.held_blocks[two.table.slot(Worker(7))] == one.active.held_blocks[one.table.slot(Worker(7))]
    assert two.active.prefill_blocks[two.table.slot(Worker(7))] == 4
    for sync in syncs:
        await sync.close()


async def entries_of(events: AsyncIterator[SnapshotEvent]) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        body: list[dict[str, Any]] = (await anext(events)).body
    return body


async def test_the_feed_speaks_the_contract(stage: Stage) -> None:
    engine, instance, _ = await stage.worker()
    router, runtime = await stage.router()
    feed = KvFeed(router)
    await feed.serve(runtime.namespace("ns").component("router"))
    ids = tokens(321)
    await ask(engine, ids)
    await until(lambda: bool(router.workers) and router.find_best(ids).overlap_blocks == 20)
    router.routed(router.find_best(ids, request_id="a"))
    reader = await stage.runtime()
    subscriber = SnapshotSubscriber(reader.namespace("ns").component("router").endpoint("kv_feed"))
    events = aiter(subscriber)
    snapshot = await entries_of(events)
    assert snapshot[0] == {"kind": "config", "block_size": 16, "mode": "kv"}
    label = Worker(instance).label
    (worker,) = [msgspec.convert(e, KvWorker) for e in snapshot if e["kind"] == "worker"]
    assert (worker.worker, worker.cached_blocks, worker.active_requests) == (label, 20, 1)
    (decision,) = [msgspec.convert(e, KvDecision) for e in snapshot if e["kind"] == "decision"]
    assert (decision.seq, decision.worker, decision.prompt_blocks, decision.overlap_blocks) == (1, label, 20, 20)
    assert [c.worker for c in decision.candidates] == [label]
    (prefix,) = [msgspec.convert(e, KvPrefix) for e in snapshot if e["kind"] == "prefix"]
    assert (prefix.blocks, prefix.requests, prefix.workers) == (20, 1, [label])

    router.first_token("a", 320)
    seen: list[dict[str, Any]] = []
    while not any(entry["kind"] == "actual" for entry in seen):
        seen.extend(await entries_of(events))
    (actual,) = [entry for entry in seen if entry["kind"] == "actual"]
    assert actual == {"kind": "actual", "request_id": "a", "worker": label, "prompt_blocks": 20, "cached_blocks": 20}
    router.finished("a")
    router.routed(router.find_best(tokens(40, 2), request_id="b"))
    seen.clear()
    while not any(entry["kind"] == "decision" for entry in seen):
        seen.extend(await entries_of(events))
    assert next(e for e in seen if e["kind"] == "decision")["seq"] == 2
    router.remove_instance(instance)
    while not any(entry["kind"] == "gone" for entry in seen):
        seen.extend(await entries_of(events))
    await subscriber.close()


async def test_an_event_per_decision_and_counters(stage: Stage) -> None:
    engine, instance, _ = await stage.worker()
    router, runtime = await stage.router()
    registry = Registry()
    router.observers.append(RouterMetrics(registry))
    router.observers.append(HitRateEvents(await runtime.namespace("ns").publisher(HIT_RATE_SUBJECT)))
    listener = await stage.runtime()
    subscription = await listener.namespace("ns").subscribe(HIT_RATE_SUBJECT)
    ids = tokens(321)
    await ask(engine, ids)
    await until(lambda: bool(router.workers) and router.find_best(ids).overlap_blocks == 20)
    router.routed(router.find_best(ids, request_id="a"))
    router.first_token("a", 304)
    async with asyncio.timeout(20):
        event = await anext(aiter(subscription))
    assert event == {"worker_id": instance, "isl_blocks": 20, "overlap_blocks": 20}
    values = {(s.name, *s.labels.values()): s.value for s in registry.samples()}
    assert values["dynamo_kv_asked_blocks_total",] == 20
    assert values["dynamo_kv_overlap_blocks_total",] == 20
    assert values["dynamo_kv_actual_blocks_total",] == 19
    assert values["dynamo_kv_avoidable_blocks_total",] == 0
    assert values["dynamo_kv_decisions_total", "kv"] == 1
    await subscription.close()
