"""A trace of requests, routed by KV cache and in turn: `python -m benchmarks.kv.trace [--trace FILE] [--workers 4]`.

FILE has one JSON object a line, as the Mooncake traces have (github.com/kvcache-ai/Mooncake): `timestamp` in
milliseconds, `input_length` and `output_length` in tokens, and `hash_ids`, a name for each 512 tokens of the prompt;
equal names are equal tokens. Without a file a synthetic trace is made, the same for the same options (`conversations`
says how); `--write FILE` keeps it.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import msgspec

from benchmarks.kv.cluster import Cluster, Prompt
from dynamo.llm.engines.mocker_core import MockerOptions
from dynamo.llm.kv.options import RouterOptions

NAMED_TOKENS = 512
LONGEST = 200_000
MODES = ("round-robin", "least-loaded", "kv", "approx-kv")


class Entry(msgspec.Struct):
    """One request of a trace, as in the files; other fields are ignored."""

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int]


def conversations(count: int, *, rate: float, seed: int = 0) -> list[Entry]:
    """A synthetic trace of `count` conversations that begin at `rate` a second, at random times.

    Each has one of eight system prompts of 2,048 tokens, which are shared, and one to six turns. A turn repeats all
    before it and adds 512 or (one in three) 1,024 tokens, less up to 400 at its end; answers have 20 to 199 tokens.
    Between two turns there are 2 s and on average 8 s more.
    """
    rng = random.Random(seed)
    entries, names, begun = [], iter(range(1000, 1 << 30)), 0.0
    for _ in range(count):
        begun += rng.expovariate(rate)
        when = begun
        system = rng.randrange(8)
        ids = [10 * system + part for part in range(4)]
        for _ in range(rng.randrange(1, 7)):
            ids = [*ids, *(next(names) for _ in range(rng.choice((1, 1, 2))))]
            length = NAMED_TOKENS * len(ids) - rng.randrange(400)
            entries.append(Entry(when * 1000, length, rng.randrange(20, 200), ids))
            when += 2 + rng.expovariate(1 / 8)
    return sorted(entries, key=lambda entry: entry.timestamp)


def read_trace(path: Path, limit: int) -> list[Entry]:
    """The first `limit` entries of a file. Ends the program with one line about what is no entry."""
    entries: list[Entry] = []
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if len(entries) == limit:
                    break
                try:
                    entries.append(msgspec.json.decode(line, type=Entry))
                except msgspec.DecodeError as error:
                    raise SystemExit(f"{path}:{number}: no entry of a trace in Mooncake's format: {error}") from None
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from None
    if not entries:
        raise SystemExit(f"{path}: the trace is empty")
    return sorted(entries, key=lambda entry: entry.timestamp)


@lru_cache(maxsize=200_000)
def tokens_of(name: int) -> tuple[int, ...]:
    return tuple(random.Random(name).choices(range(32_000), k=NAMED_TOKENS))


def prompt_of(entry: Entry) -> Prompt:
    tokens = [token for name in entry.hash_ids for token in tokens_of(name)]
    return Prompt(tokens[: entry.input_length], max(entry.output_length, 1))


def arrivals_of(entries: Iterable[Entry], speed: float = 1.0) -> list[tuple[float, Prompt]]:
    """(seconds, prompt) of each entry, from the first on."""
    entries = list(entries)
    began = entries[0].timestamp
    return [((entry.timestamp - began) / 1000 / speed, prompt_of(entry)) for entry in entries]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--limit", type=int, default=5000, help="requests taken from the trace")
    parser.add_argument("--speed", type=float, default=1.0, help="so many times as fast as the trace says")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=8192, help="blocks of 16 tokens a worker")
    parser.add_argument("--conversations", type=int, default=400)
    parser.add_argument("--rate", type=float, default=4.0, help="conversations begun a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the trace that is replayed")
    arguments = parser.parse_args()
    if arguments.trace is None:
        made = conversations(arguments.conversations, rate=arguments.rate, seed=arguments.seed)
        entries, name = made[: arguments.limit], f"synthetic conversations, seed {arguments.seed}"
    else:
        entries, name = read_trace(arguments.trace, arguments.limit), arguments.trace.name
    if arguments.write is not None:
        arguments.write.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
    arrivals = arrivals_of(entries, arguments.speed)
    tokens = sum(len(prompt.tokens) for _, prompt in arrivals)
    print(
        f"{name}: {len(arrivals)} requests over {arrivals[-1][0]:.0f} s, "
        f"{tokens / len(arrivals):.0f} tokens each on average\n"
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
