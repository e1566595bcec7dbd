"""A trace of requests, routed by KV cache and in turn: `python -m benchmarks.kv.trace [--trace FILE] [--workers 4]`.

FILE has one JSON object a line, as the Mooncake traces have (github.com/kvcache-ai/Mooncake): `timestamp` in
milliseconds, `input_length` and `output_length` in tokens, and `hash_ids`, a name for each 512 tokens of the prompt;
equal names are equal tokens. Without a file a trace of conversations is made: shared system prompts, turns that grow,
pauses between them.
"""

from __future__ import annotations

import argparse
import json
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.kv.cluster import Cluster, Prompt
from dynamo.llm.engines.mocker_core import MockerOptions
from dynamo.llm.kv.options import RouterOptions

NAMED_TOKENS = 512
LONGEST = 200_000
MODES = ("round-robin", "least-loaded", "kv", "approx-kv")


def conversations(count: int, *, rate: float, seed: int = 0) -> list[dict[str, Any]]:
    """`count` conversations that begin at `rate` a second, in the form of a trace."""
    rng = random.Random(seed)
    entries, names, begun = [], iter(range(1000, 1 << 30)), 0.0
    for _ in range(count):
        begun += rng.expovariate(rate)
        when = begun
        system = rng.randrange(8)
        ids = [10 * system + part for part in range(4)]
        for _ in range(rng.randrange(1, 7)):
            ids = [*ids, *(next(names) for _ in range(rng.choice((1, 1, 2))))]
            entries.append(
                {
                    "timestamp": when * 1000,
                    "input_length": NAMED_TOKENS * len(ids) - rng.randrange(400),
                    "output_length": rng.randrange(20, 200),
                    "hash_ids": ids,
                }
            )
            when += 2 + rng.expovariate(1 / 8)
    return sorted(entries, key=lambda entry: entry["timestamp"])


@lru_cache(maxsize=200_000)
def tokens_of(name: int) -> tuple[int, ...]:
    return tuple(random.Random(name).choices(range(32_000), k=NAMED_TOKENS))


def prompt_of(entry: dict[str, Any]) -> Prompt:
    tokens = [token for name in entry["hash_ids"] for token in tokens_of(name)]
    return Prompt(tokens[: entry["input_length"]], max(entry["output_length"], 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--limit", type=int, default=5000, help="requests taken from the trace")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=8192, help="blocks of 16 tokens a worker")
    parser.add_argument("--conversations", type=int, default=400)
    parser.add_argument("--rate", type=float, default=4.0, help="conversations begun a second")
    arguments = parser.parse_args()
    if arguments.trace is None:
        entries = conversations(arguments.conversations, rate=arguments.rate)
    else:
        with arguments.trace.open() as lines:
            entries = [json.loads(line) for line in lines]
    entries = entries[: arguments.limit]
    arrivals = [(entry["timestamp"] / 1000, prompt_of(entry)) for entry in entries]
    tokens = sum(len(prompt.tokens) for _, prompt in arrivals)
    print(
        f"{len(arrivals)} requests over {arrivals[-1][0]:.0f} s, {tokens / len(arrivals):.0f} tokens each on average\n"
    )
    print("| Mode | Hit rate, predicted | actual | Avoidable share | TTFT mean | p50 | p99 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for mode in MODES:
        engine = MockerOptions(num_gpu_blocks=arguments.blocks, max_model_len=LONGEST)
        outcome = Cluster(arguments.workers, engine, RouterOptions(mode=mode)).replay(arrivals)
        times = [
            f"{seconds * 1e3:.0f} ms" for seconds in (outcome.ttft_mean, outcome.ttft_at(0.5), outcome.ttft_at(0.99))
        ]
        print(
            f"| {mode} | {outcome.predicted:.3f} | {outcome.actual:.3f} | {outcome.avoidable_share:.2f} | "
            f"{' | '.join(times)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
