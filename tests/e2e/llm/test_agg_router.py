"""Four simulated workers behind the KV router: shared prefixes are found again, and a lost worker is forgotten."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.llm.graph import RunningGraph, running

pytestmark = pytest.mark.xdist_group("e2e-llm")

PREFIXES = 10
PER_PREFIX = 2
SMALL_CACHE = "--Worker.num-gpu-blocks=512"  # half of what all prefixes need; a quarter of what four workers have
WORDS = """the quick brown fox jumps over a lazy dog while seven wizards mix up another jug of bad ink""".split()  # noqa: SIM905


def prompts() -> list[Any]:
    """Twenty prompts: ten long prefixes, two questions to each."""
    chance = random.Random(5)
    heads = [" ".join(chance.choices(WORDS, k=700)) for _ in range(PREFIXES)]
    return [
        [{"role": "system", "content": heads[at % PREFIXES]}, {"role": "user", "content": f"Question {at}: why?"}]
        for at in range(PREFIXES * PER_PREFIX)
    ]


async def hit_rate(api: openai.AsyncOpenAI, seed: int) -> float:
    """Cached share of the prompts' tokens as the engines report it, eight at a time, in some order."""
    limit = asyncio.Semaphore(8)

    async def ask(messages: Any) -> tuple[int, int]:
        async with limit:
            answer = await api.chat.completions.create(model="tiny", messages=messages, max_tokens=4)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        return answer.usage.prompt_tokens_details.cached_tokens or 0, answer.usage.prompt_tokens

    workload = prompts()
    random.Random(seed).shuffle(workload)
    figures = await asyncio.gather(*(ask(messages) for messages in workload))
    return sum(cached for cached, _ in figures) / sum(asked for _, asked in figures)


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)


async def router_metrics(graph: RunningGraph) -> dict[str, float]:
    """The router's counters once the last reports of finished requests have arrived."""
    latest: dict[str, float] = {}
    async with asyncio.timeout(10):
        while True:
            found = await graph.metrics("router-1", "dynamo_kv")
            if found == latest:
                return found
            latest = found
            await asyncio.sleep(0.2)


async def test_shared_prefixes_hit_with_the_router(tmp_path: Path) -> None:
    config = ("graphs.agg_router:Frontend", "configs/agg_router.yaml", SMALL_CACHE)
    async with running(*config, DYN_LOCAL_STATE_DIR=str(tmp_path)) as (graph, url), client(url) as api:
        await hit_rate(api, 1)
        before = await router_metrics(graph)
        assert await hit_rate(api, 2) > 0.8
        after = await router_metrics(graph)
        asked, predicted, actual = (
            after[name] - before[name]
            for name in (
                "dynamo_kv_asked_blocks_total",
                "dynamo_kv_overlap_blocks_total",
                "dynamo_kv_actual_blocks_total",
            )
        )
        assert predicted / asked > 0.8
        assert abs(predicted - actual) / asked < 0.02
        await a_lost_worker_is_forgotten(graph, api)


async def a_lost_worker_is_forgotten(graph: RunningGraph, api: openai.AsyncOpenAI) -> None:
    for number in (1, 2):
        os.kill(graph.processes[f"worker-{number}"].pid, signal.SIGKILL)
    for messages in prompts():
        answer = await api.chat.completions.create(model="tiny", messages=messages, max_tokens=2)
        assert answer.choices[0].finish_reason == "length"


async def test_shared_prefixes_hit_less_in_turn(tmp_path: Path) -> None:
    config = ("graphs.agg_router:Frontend", "configs/agg_router.yaml", "--Router.mode=round-robin", SMALL_CACHE)
    async with running(*config, DYN_LOCAL_STATE_DIR=str(tmp_path)) as (_, url), client(url) as api:
        await hit_rate(api, 1)
        assert await hit_rate(api, 2) < 0.7
