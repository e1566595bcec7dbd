"""Two real vLLM engines (CPU build) behind the router: `.venv-vllm/bin/python -m benchmarks.serving.vllm_prefixes`.

48 completions over 8 shared prefixes of 1,024 tokens, each with a tail of its own, two at a time, cold caches; a
random Llama of 8 layers, hidden size 512. An engine's cache holds fewer than six of the eight prefixes. Hit rates are
the engines' own; times are taken at the client's socket.

The router's `overlap-weight` is 1.5 here. At 1, whenever both requests in flight want the same engine, the idle one
gets one of them and computes again what the other engine holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from tests.e2e.llm.graph import running
from tests.vllm.models import with_weights

PREFIXES, REQUESTS, PREFIX_TOKENS, TAIL_TOKENS = 8, 48, 1024, 32
CACHE_BLOCKS = 192
"""Of 32 tokens. A prefix with a tail takes 33."""
TARGET = ("graphs.agg_router:Frontend", "configs/agg_router_vllm.yaml")


def prompts(seed: int) -> list[list[int]]:
    chance = random.Random(seed)
    heads = [[chance.randrange(10, 900) for _ in range(PREFIX_TOKENS)] for _ in range(PREFIXES)]
    tails = [[chance.randrange(10, 900) for _ in range(TAIL_TOKENS)] for _ in range(REQUESTS)]
    made = [heads[n % PREFIXES] + tail for n, tail in enumerate(tails)]
    chance.shuffle(made)
    return made


class Figures:
    """Times in milliseconds. A request counts as warm when its prefix was cached."""

    def __init__(self, answers: list[tuple[float, int]]) -> None:
        self.ttft = 1000 * statistics.mean(first for first, _ in answers)
        self.hit_rate = sum(cached for _, cached in answers) / (REQUESTS * (PREFIX_TOKENS + TAIL_TOKENS))
        self.warm = [1000 * first for first, cached in answers if cached >= PREFIX_TOKENS]
        self.cold = [1000 * first for first, cached in answers if cached < PREFIX_TOKENS]

    def __str__(self) -> str:
        parts = [
            f"{len(times)} {kind} {statistics.median(times):.0f} ms"
            for kind, times in (("cold", self.cold), ("warm", self.warm))
            if times
        ]
        return f"mean TTFT {self.ttft:7.1f} ms   hit rate {self.hit_rate:.3f}   (p50: {', '.join(parts)})"


async def ask(http: httpx.AsyncClient, ids: list[int]) -> tuple[float, int]:
    """Seconds to the first token, and prompt tokens that were cached."""
    body = {"model": "tiny", "prompt": ids, "max_tokens": 4, "stream": True, "ignore_eos": True}
    body["stream_options"] = {"include_usage": True}
    started, first, cached = time.perf_counter(), 0.0, 0
    async with http.stream("POST", "/v1/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                first = first or time.perf_counter() - started
                if usage := json.loads(line[6:]).get("usage"):
                    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return first, cached


async def mode(name: str, weights: Path, seed: int, clients: int, weight: float) -> Figures:
    """One run on cold caches."""
    options = [
        f"--Router.mode={name}", f"--Router.overlap-weight={weight}",
        f"--Worker.model={weights}", "--Worker.served-model-name=tiny",
        "--Worker.dtype=float32", "--Worker.kv-cache-memory-bytes=268435456",
        f"--Worker.num-gpu-blocks-override={CACHE_BLOCKS}",
        '--Worker.ServiceArgs.resources={"gpu": 0}',
    ]  # fmt: skip
    async with (
        running(*TARGET, *options, DYN_LOG="warning") as (_, url),
        httpx.AsyncClient(base_url=url, timeout=600) as http,
    ):
        for worker in range(4):  # kernels warm up on prompts that nobody shares
            await ask(http, [worker + 20] * 300)
        limit = asyncio.Semaphore(clients)

        async def bounded(ids: list[int]) -> tuple[float, int]:
            async with limit:
                return await ask(http, ids)

        return Figures(await asyncio.gather(*(bounded(ids) for ids in prompts(seed))))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--overlap-weight", type=float, default=1.5)
    parser.add_argument("--modes", nargs="*", default=["round-robin", "kv"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        weights = with_weights(Path(place) / "tiny", hidden=512, layers=8)
        for seed in range(given.pairs):
            results = {}
            for name in given.modes:
                results[name] = await mode(name, weights, seed, given.clients, given.overlap_weight)
                print(f"{name:12} {results[name]}", flush=True)
            if "kv" in results and "round-robin" in results:
                print(
                    f"TTFT ratio kv / round-robin: {results['kv'].ttft / results['round-robin'].ttft:.2f}", flush=True
                )


if __name__ == "__main__":
    asyncio.run(main())
