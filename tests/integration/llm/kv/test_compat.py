"""Old workers and old routers, as graphs of ai-dynamo 0.2-0.3 wrote them, over the real runtime."""

from __future__ import annotations

import asyncio
import random

import pytest

from dynamo.llm import (
    ApproxKvIndexer,
    ForwardPassMetrics,
    KvEventPublisher,
    KvIndexer,
    KvMetricsAggregator,
    KvMetricsPublisher,
    KvStats,
    WorkerMetricsPublisher,
    WorkerStats,
    compute_block_hash_for_seq_py,
)
from tests.integration.llm.kv.conftest import Stage, ask


def tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(1000), k=count)


async def settled(indexer: KvIndexer, ids: list[int], expected: dict[int, int], lora_id: int = 0) -> None:
    async with asyncio.timeout(20):
        while (await indexer.find_matches_for_request(ids, lora_id)).scores != expected:
            await asyncio.sleep(0.005)


async def test_an_old_router_sees_old_and_new_workers(stage: Stage) -> None:
    ids = tokens(160)
    engine, new_id, _ = await stage.worker()
    await ask(engine, ids[:48])
    runtime = await stage.runtime()
    component = runtime.namespace("ns").component("worker")
    old_id = await runtime.instance_id()
    publisher = KvEventPublisher(component, old_id, 16)
    await publisher.wait_until_served()
    router = await stage.runtime()
    indexer = KvIndexer(router.namespace("ns").component("worker"), 16)
    assert indexer.block_size() == 16
    await settled(indexer, ids, {new_id: 3})
    publisher.publish_stored(1, ids[:64], [16] * 4, [1, 2, 3, -4], 0)
    publisher.publish_stored(2, ids[64:100], [16, 16, 4], [5, 6, 7], 0, parent_hash=-4)
    await settled(indexer, ids, {new_id: 3, old_id: 6})
    by_hash = await indexer.find_matches(compute_block_hash_for_seq_py(ids, 16))
    assert by_hash.scores == {new_id: 3, old_id: 6}
    publisher.publish_removed(3, [6, 5])
    await settled(indexer, ids, {new_id: 3, old_id: 4})
    publisher.publish_stored(4, ids[:32], [16] * 2, [11, 12], 7)
    await settled(indexer, ids, {old_id: 2}, lora_id=7)
    await runtime.shutdown()
    await settled(indexer, ids, {new_id: 3})


@pytest.mark.parametrize("form", ["0.3.2", "0.2"])
async def test_metrics_of_old_and_new_workers(stage: Stage, form: str) -> None:
    await stage.worker()
    runtime = await stage.runtime()
    component = runtime.namespace("ns").component("worker")
    worker_id = await runtime.instance_id()
    if form == "0.2":
        older = KvMetricsPublisher()
        await older.create_endpoint(component)
        older.publish(3, 64, 50, 200, 2, 0.25, 0.75)
    else:
        newer = WorkerMetricsPublisher()
        await newer.create_endpoint(component)
        newer.publish(ForwardPassMetrics(WorkerStats(3, 64, 2), KvStats(50, 200, 0.25, 0.75)))
    router = await stage.runtime()
    aggregator = KvMetricsAggregator(router.namespace("ns").component("worker"))
    async with asyncio.timeout(20):
        while len((metrics := await aggregator.get_metrics()).endpoints) < 2:
            await asyncio.sleep(0.005)
    old = next(endpoint for endpoint in metrics.endpoints if endpoint.worker_id == worker_id)
    assert (old.request_active_slots, old.request_total_slots, old.num_requests_waiting) == (3, 64, 2)
    assert (old.kv_active_blocks, old.kv_total_blocks) == (50, 200)
    assert (old.gpu_cache_usage_perc, old.gpu_prefix_cache_hit_rate) == (0.25, 0.75)
    assert (metrics.load_avg, metrics.load_std) == (25.0, 25.0)


async def test_no_worker_yet(stage: Stage) -> None:
    router = await stage.runtime()
    component = router.namespace("ns").component("nobody")
    assert (await KvMetricsAggregator(component).get_metrics()).endpoints == []
    assert (await KvIndexer(component, 16).find_matches_for_request(tokens(64), 0)).scores == {}


async def test_approximate_indexer(stage: Stage) -> None:
    router = await stage.runtime()
    indexer = ApproxKvIndexer(router.namespace("ns").component("worker"), 16, 60.0)
    ids = tokens(100)
    await indexer.process_routing_decision_for_request(ids, 0, 42)
    assert (await indexer.find_matches_for_request(ids, 0)).scores == {42: 6}
    assert (await indexer.find_matches_for_request(ids, 1)).scores == {}
    assert indexer.block_size() == 16
