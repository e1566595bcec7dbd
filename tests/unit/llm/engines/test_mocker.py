from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
import pytest

from dynamo.llm.engines.base import (
    BlocksCleared,
    BlocksStored,
    Engine,
    EngineOutput,
    EngineRequest,
    InvalidRequest,
    KvEvent,
    ModelCard,
    StopOptions,
)
from dynamo.llm.engines.echo import Echo
from dynamo.llm.engines.mocker import EngineStopped, Mocker
from dynamo.llm.engines.mocker_core import MockerOptions


def tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(1000), k=count)


def ask(name: str, ids: list[int], max_tokens: int | None = 8) -> EngineRequest:
    return EngineRequest(request_id=name, token_ids=ids, stop=StopOptions(max_tokens=max_tokens))


@asynccontextmanager
async def started(**options: object) -> AsyncIterator[Mocker]:
    values = {"num_gpu_blocks": 1000, "block_size": 4, "vocab_size": 1000, "speedup_ratio": 1000.0, **options}
    engine = Mocker(ModelCard(name="m", eos_token_ids=[2]), MockerOptions(**values))
    await engine.start(lambda line: None)
    try:
        yield engine
    finally:
        await engine.stop()


async def collect(engine: Engine, request: EngineRequest) -> list[EngineOutput]:
    return [output async for output in engine.generate(request)]


async def test_many_streams_at_once() -> None:
    async with started() as engine, asyncio.timeout(20):
        streams = await asyncio.gather(*(collect(engine, ask(str(i), tokens(30, i), 20)) for i in range(50)))
        for outputs in streams:
            assert sum(len(output.token_ids) for output in outputs) == 20
            assert [o.finish_reason for o in outputs if o.finish_reason] == ["length"]
            assert outputs[0].prompt_tokens == 30
            assert outputs[0].cached_tokens == 0
        again = await collect(engine, ask("again", tokens(30, 3), 20))
        assert again[0].cached_tokens == 28
        assert [t for o in again for t in o.token_ids] == [t for o in streams[3] for t in o.token_ids]
        assert engine.load().running_requests == 0
        assert engine.load().cached_blocks > 0


async def test_logprobs_are_those_of_an_even_draw() -> None:
    async with started(vocab_size=1000) as engine, asyncio.timeout(20):
        request = ask("l", tokens(9), 6)
        request.sampling.logprobs = 2
        outputs = await collect(engine, request)
        assert [entry.token_id for o in outputs for entry in o.logprobs or ()] == [
            t for o in outputs for t in o.token_ids
        ]
        entries = [entry for output in outputs for entry in output.logprobs or ()]
        assert {round(entry.logprob, 6) for entry in entries} == {round(-math.log(1000), 6)}
        assert all(
            entry.top[0][0] == entry.token_id and len({token for token, _ in entry.top}) == 2 for entry in entries
        )
        assert all(output.logprobs is None for output in await collect(engine, ask("n", tokens(9), 6)))


async def test_card_says_what_it_is() -> None:
    async with started(max_model_len=512) as engine:
        card = engine.card
        assert (card.simulated, card.engine, card.block_size, card.context_length) == (True, "mocker", 4, 512)


async def test_events_come_in_batches_in_order() -> None:
    seen: list[KvEvent] = []
    async with started() as engine, asyncio.timeout(20):
        engine.listen(seen.extend)
        await collect(engine, ask("a", tokens(30)))
        assert isinstance(seen[0], BlocksStored)
        assert len(seen[0].blocks) == 7
        await engine.clear_cache()
        assert seen[-1] == BlocksCleared()


async def test_without_max_tokens_it_ends_by_itself() -> None:
    async with started(default_output_tokens=5) as engine, asyncio.timeout(20):
        outputs = await collect(engine, ask("a", tokens(30), None))
        assert [t for o in outputs for t in o.token_ids][-1] == 2
        assert outputs[-1].finish_reason == "stop"
        assert outputs[-1].stop_reason == 2


async def test_closing_the_stream_aborts() -> None:
    async with started(speedup_ratio=1.0) as engine, asyncio.timeout(20):
        async with aclosing(engine.generate(ask("a", tokens(30), 1000))) as stream:
            await anext(stream)
            assert engine.load().running_requests == 1
        assert engine.load().running_requests == 0
        assert engine.load().active_blocks == 0


async def test_cancelling_the_task_aborts() -> None:
    async with started(speedup_ratio=1.0) as engine, asyncio.timeout(20):
        task = asyncio.create_task(collect(engine, ask("a", tokens(30), 1000)))
        while not engine.load().running_requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.load().running_requests == 0


@pytest.mark.parametrize(
    ("field", "ids", "max_tokens"),
    [
        ("token_ids", [], 1),
        ("token_ids", [1000], 1),
        ("token_ids", [-1], 1),
        ("token_ids", [1] * 512, 1),
        ("max_tokens", [1], 0),
    ],
)
async def test_requests_that_no_retry_saves(field: str, ids: list[int], max_tokens: int) -> None:
    async with started(max_model_len=512) as engine:
        with pytest.raises(InvalidRequest) as caught:
            engine.generate(ask("a", ids, max_tokens))
        assert caught.value.field == field


async def test_what_can_never_fit_is_refused() -> None:
    async with started(num_gpu_blocks=10) as engine:
        with pytest.raises(InvalidRequest, match="do not fit the cache of 40 tokens"):
            engine.generate(ask("a", tokens(30), 11))


async def test_stop_lets_running_requests_end_or_fails_them() -> None:
    engine = Mocker(ModelCard(name="m"), MockerOptions(vocab_size=1000, speedup_ratio=100))
    with pytest.raises(EngineStopped):
        await collect(engine, ask("a", tokens(30)))
    await engine.start(lambda line: None)
    assert await engine.healthy()
    ended = asyncio.create_task(collect(engine, ask("a", tokens(30), 10)))
    await asyncio.sleep(0)
    await engine.stop(grace=20)
    assert (await ended)[-1].finish_reason == "length"
    assert not await engine.healthy()
    await engine.start(lambda line: None)
    cut = asyncio.create_task(collect(engine, ask("b", tokens(30), 10_000)))
    while not engine.load().running_requests:
        await asyncio.sleep(0)
    await engine.stop()
    with pytest.raises(EngineStopped, match="stopped"):
        await cut


async def test_a_step_takes_its_time() -> None:
    """One 0.2 s prefill: not much sooner than that, however fast the machine."""
    async with started(speedup_ratio=1.0, num_gpu_blocks=4000) as engine, asyncio.timeout(60):
        clock = asyncio.get_running_loop().time
        before = clock()
        await collect(engine, ask("a", tokens(6000), 1))
        assert clock() - before > 0.15


async def test_echo_says_the_prompt_back() -> None:
    engine = Echo(ModelCard(name="e", context_length=100))
    await engine.start(lambda line: None)
    outputs = await collect(engine, ask("a", [5, 6, 7], None))
    assert [t for o in outputs for t in o.token_ids] == [5, 6, 7]
    assert (outputs[0].prompt_tokens, outputs[-1].finish_reason) == (3, "stop")
    outputs = await collect(engine, ask("a", [5, 6, 7], 2))
    assert outputs[-1].finish_reason == "length"
    for bad in ([], [1] * 100):
        with pytest.raises(InvalidRequest):
            engine.generate(ask("a", bad))
    await engine.stop(grace=1)
    assert not await engine.healthy()


async def test_each_data_parallel_rank_has_a_cache_and_a_batch_of_its_own() -> None:
    seen: list[KvEvent] = []

    async def cached(rank: int | None) -> int | None:
        request = msgspec.structs.replace(ask("r", tokens(30), 1), dp_rank=rank)
        return (await collect(engine, request))[0].cached_tokens

    async with started(data_parallel_size=2) as engine, asyncio.timeout(20):
        engine.listen(seen.extend)
        assert engine.card.data_parallel_size == 2
        assert [await cached(1), await cached(1), await cached(0)] == [0, 28, 0]
        assert [event.dp_rank for event in seen] == [1, 0]
        load = engine.load()
        assert [rank.cached_blocks for rank in load.ranks] == [7, 7]
        assert (load.cached_blocks, load.total_blocks) == (14, 2000)
        assert [rank.prefix_hits_tokens for rank in load.ranks] == [0, 28]
        with pytest.raises(InvalidRequest, match=r"must be in 0\.\.1, got 2"):
            await cached(2)


async def test_a_request_without_a_rank_goes_to_the_less_busy_one() -> None:
    async with started(data_parallel_size=2, speedup_ratio=1.0) as engine, asyncio.timeout(20):
        streams = [engine.generate(ask(str(number), tokens(30, number), 1000)) for number in range(4)]
        for stream in streams:
            await anext(stream)
        assert [rank.running_requests for rank in engine.load().ranks] == [2, 2]
        for stream in streams:
            await stream.aclose()
