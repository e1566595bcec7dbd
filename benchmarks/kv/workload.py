"""What both sides of the structure benchmarks do, with nothing but the standard library."""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator

WORKERS = 64
INDEXED_BLOCKS = 1_000_000
FILLER_CHAIN = 512
LOOKUPS = (64, 512, 2048)
EVENT_SIZES = (1, 16, 128)
EVENT_BLOCKS = 65_536

clock = time.process_time if os.environ.get("BENCHMARK_CLOCK") == "cpu" else time.perf_counter
"""Seconds: of the wall, or of this process's CPU time in all threads (for a box that is not idle)."""


def tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(128_000), k=count)


def microseconds(work: Callable[[], object], *, seconds: float = 0.25, rounds: int = 7) -> float:
    """Median over `rounds` of the mean time of one call; about `seconds` in all, after a warm-up."""
    work()
    began = clock()
    work()
    once = max(clock() - began, 1e-7)
    calls = max(1, int(seconds / rounds / once))
    found = []
    for _ in range(rounds):
        began = clock()
        for _ in range(calls):
            work()
        found.append((clock() - began) / calls * 1e6)
    return statistics.median(found)


def filler() -> Iterator[tuple[int, list[int]]]:
    """(worker, numbers of the blocks of one sequence): a million blocks that no lookup asks for."""
    for start in range(0, INDEXED_BLOCKS, FILLER_CHAIN):
        yield (start // FILLER_CHAIN) % WORKERS, list(range(start, min(start + FILLER_CHAIN, INDEXED_BLOCKS)))


def held_by(worker: int, blocks: int) -> int:
    """How much of a prompt each worker holds: four depths, a quarter of the workers each."""
    return blocks * (worker % 4 + 1) // 4


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096


def report(figures: dict[str, float]) -> None:
    json.dump(figures, sys.stdout)
