from __future__ import annotations

import asyncio
import random

import pytest

from dynamo.llm.engines.base import EngineLoad, EngineRequest, StopOptions
from dynamo.llm.kv.events import register_engine_metrics
from dynamo.llm.kv.options import RouteOverrides
from dynamo.llm.kv.workers import Worker
from dynamo.runtime.metrics import Registry
from tests.integration.llm.kv.conftest import Stage, ask, until


def tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(1000), k=count)


async def test_a_router_knows_what_its_workers_cache(stage: Stage) -> None:
    router, _ = await stage.router()
    first, one, _ = await stage.worker()
    second, two, _ = await stage.worker()
    ids = tokens(321)
    await until(lambda: len(router.workers) == 2)
    assert router.find_best(ids).best_overlap_blocks == 0
    await ask(first, ids[:160])
    await ask(second, ids)
    await until(lambda: router.find_best(ids).best_overlap_blocks == 20)
    decision = router.find_best(ids)
    assert {c.worker.instance: c.overlap_blocks for c in decision.candidates} == {one: 10, two: 20}
    assert decision.worker == Worker(two)
    assert await ask(second, ids) == decision.overlap_blocks * 16
    await second.clear_cache()
    await until(lambda: router.find_best(ids).best_overlap_blocks == 10)


async def test_a_late_router_starts_from_the_snapshot(stage: Stage) -> None:
    engine, instance, _ = await stage.worker()
    ids = tokens(321)
    await ask(engine, ids)
    router, _ = await stage.router()
    await until(lambda: router.workers == [Worker(instance)])
    assert router.find_best(ids).overlap_blocks == 20


async def test_evictions_are_followed(stage: Stage) -> None:
    """A small cache under churn: at rest, the router's picture of it is exact."""
    router, _ = await stage.router()
    engine, instance, publisher = await stage.worker(num_gpu_blocks=50)
    prompts = [tokens(16 * 12 + 1, seed) for seed in range(12)]
    rng = random.Random(1)
    for _ in range(60):
        await ask(engine, rng.choice(prompts), max_tokens=20)

    def at_rest() -> bool:
        held = {key for change in publisher.mirror.snapshot() for key in change.hashes}
        index = router.index
        return index.blocks.get(Worker(instance)) == len(held) and all(key in index for key in held)

    await until(at_rest)
    predicted = [router.find_best(prompt).overlap_blocks for prompt in prompts]
    assert 0 < sum(predicted) < 12 * 12
    for prompt in prompts:
        expected = router.find_best(prompt).overlap_blocks
        assert await ask(engine, prompt) == 16 * expected
        await until(at_rest)


async def test_load_is_pushed(stage: Stage) -> None:
    router, _ = await stage.router()
    engine, instance, _ = await stage.worker(speedup_ratio=1.0)
    await until(lambda: Worker(instance) in router.table)
    slot = router.table.slot(Worker(instance))

    def latest() -> EngineLoad:
        return router.scheduler.reported.latest.get(slot, EngineLoad())

    running = asyncio.create_task(ask(engine, tokens(100), max_tokens=10_000))
    await until(lambda: latest().running_requests == 1)
    assert latest().total_blocks == 16384
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: latest().running_requests == 0)


async def test_a_killed_worker_is_forgotten(stage: Stage) -> None:
    router, _ = await stage.router()
    process = await stage.process()
    ids = [*range(320), 1]
    await until(lambda: bool(router.workers) and router.find_best(ids).overlap_blocks == 20)
    router.routed(router.find_best(ids, request_id="a"))
    process.kill()
    await until(lambda: not router.workers, seconds=5)
    assert len(router.active) == 0
    assert router.index.match(router.hashes(ids)).best == 0


async def test_a_worker_that_leaves_is_forgotten(stage: Stage) -> None:
    router, _ = await stage.router()
    _, instance, publisher = await stage.worker()
    await until(lambda: router.workers == [Worker(instance)])
    await publisher.close()
    await until(lambda: not router.workers)


async def test_another_block_size_is_said_and_ignored(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    engine, instance, _ = await stage.worker(block_size=32)
    ids = tokens(321)
    await ask(engine, ids)
    router, _ = await stage.router(block_size=16)
    await until(lambda: router.workers == [Worker(instance)])
    await until(lambda: "blocks of 32 tokens where the router has 16" in caplog.text)
    assert router.find_best(ids).overlap_blocks == 0


async def test_engine_metrics(stage: Stage) -> None:
    engine, _, _ = await stage.worker()
    registry = Registry()
    register_engine_metrics(engine, registry)
    await ask(engine, tokens(160))
    await ask(engine, tokens(160))
    values = {sample.name: sample.value for sample in registry.samples()}
    assert values["dynamo_engine_prefix_queries_tokens_total"] == 320
    assert values["dynamo_engine_prefix_hits_tokens_total"] == 144
    assert values["dynamo_engine_kv_blocks_total"] == 16384
    assert values["dynamo_engine_running_requests"] == 0


async def test_data_parallel_ranks_are_workers_with_loads_of_their_own(stage: Stage) -> None:
    router, _ = await stage.router()
    engine, instance, _ = await stage.worker(data_parallel_size=2, speedup_ratio=1.0)
    await until(lambda: router.workers == [Worker(instance, 0), Worker(instance, 1)])

    def reported(rank: int) -> EngineLoad:
        return router.scheduler.reported.latest.get(router.table.slot(Worker(instance, rank)), EngineLoad())

    ids = tokens(321)
    busy = engine.generate(EngineRequest(request_id="r", token_ids=ids, dp_rank=0, stop=StopOptions(max_tokens=10_000)))
    await anext(busy)
    await until(lambda: reported(0).running_requests == 1 and reported(0).active_blocks >= 20)
    await until(lambda: router.find_best(ids).best_overlap_blocks == 20)
    assert (reported(1).running_requests, reported(1).active_blocks, reported(1).total_blocks) == (0, 0, 16384)
    overlaps = {c.worker: c.overlap_blocks for c in router.find_best(ids).candidates}
    assert overlaps == {Worker(instance, 0): 20, Worker(instance, 1): 0}
    assert router.find_best(ids).worker == Worker(instance, 0)
    least = RouteOverrides(mode="least-loaded")
    assert {router.find_best(ids, overrides=least).worker for _ in range(4)} == {Worker(instance, 1)}
    await busy.aclose()


async def test_engine_metrics_of_each_rank(stage: Stage) -> None:
    engine, _, _ = await stage.worker(data_parallel_size=2)
    registry = Registry()
    register_engine_metrics(engine, registry)
    await ask(engine, tokens(160), dp_rank=1)
    await ask(engine, tokens(160), dp_rank=1)
    values = {(sample.name, sample.labels["dp_rank"]): sample.value for sample in registry.samples()}
    hits = "dynamo_engine_prefix_hits_tokens_total"
    assert (values[hits, "0"], values[hits, "1"]) == (0, 144)
    assert values["dynamo_engine_kv_blocks_total", "0"] == 16384
