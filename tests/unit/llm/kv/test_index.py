from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest

from dynamo.llm.kv.hashing import BlockHasher
from dynamo.llm.kv.index import PrefixIndex, bits_of
from dynamo.llm.kv.workers import Worker

A, B, C = Worker(1), Worker(2), Worker(2, 1)


def exact_walk(held: dict[Worker, set[int]], hashes: list[int]) -> dict[Worker, int]:
    """The definition, block by block."""
    scores = {}
    for worker, blocks in held.items():
        depth = 0
        while depth < len(hashes) and hashes[depth] in blocks:
            depth += 1
        if depth:
            scores[worker] = depth
    return scores


def test_bits_of() -> None:
    assert bits_of(0) == []
    assert bits_of(0b1011) == [0, 1, 3]
    assert bits_of(1 << 200) == [200]


def test_depth_per_worker_deepest_first() -> None:
    index = PrefixIndex()
    index.store(A, [1, 2, 3])
    index.store(B, [1])
    index.store(C, [1, 2, 3, 4, 5])
    matches = index.match([1, 2, 3, 4, 9])
    assert matches.scores() == {C: 4, A: 3, B: 1}
    assert [depth for _, depth in matches.segments] == [4, 3, 1]
    assert matches.best == 4
    assert index.match([7]).scores() == {}
    assert index.match([]).scores() == {}
    assert PrefixIndex().match([1]).best == 0


def test_overlap_is_spread_over_slots() -> None:
    index = PrefixIndex()
    for worker, slot in ((A, 5), (B, 3), (C, 0)):
        index.add_worker(worker, slot)
    index.store(A, [1, 2, 3])
    index.store(B, [1, 2, 3])
    index.store(C, [1])

    def spread() -> list[float]:
        out = np.zeros(8)
        index.match(np.array([1, 2, 3], np.uint64)).spread(out)
        return out.tolist()

    assert spread() == [1, 0, 0, 3, 0, 3, 0, 0]
    index.clear(B)
    index.store(B, [1])
    assert spread() == [1, 0, 0, 1, 0, 3, 0, 0], "a worker keeps its slot when its cache is emptied"
    index.remove_worker(A)
    index.add_worker(Worker(9), 5)
    index.store(Worker(9), [1, 2])
    assert spread() == [1, 0, 0, 1, 0, 2, 0, 0], "a slot may be given to another"


def test_removal_and_counts() -> None:
    index = PrefixIndex()
    assert index.store(A, [1, 2, 3]) == 3
    assert index.store(A, [2, 3, 4]) == 1
    assert index.blocks[A] == 4
    assert index.remove(A, [4, 4, 99]) == 1
    assert index.remove(B, [1]) == 0
    assert index.match([1, 2, 3, 4]).scores() == {A: 3}
    assert index.blocks[A] == 3
    assert len(index) == 3


def test_a_lost_worker_is_forgotten_at_once_and_swept_later() -> None:
    index = PrefixIndex()
    index.store(A, range(1000))
    index.store(B, range(500))
    assert index.remove_worker(A) == 1000
    assert index.match(range(1000)).scores() == {B: 500}
    assert len(index) == 1000
    while not index.sweep(100):
        pass
    assert len(index) == 500
    index.add_worker(C)
    assert index.match(range(1000)).scores() == {B: 500}, "a reused bit brings nothing back"


def test_storing_sweeps() -> None:
    index = PrefixIndex()
    index.store(A, range(1000))
    index.remove_worker(A)
    index.store(B, range(5000, 6000))
    assert len(index) == 1000


def test_clear_then_store_again() -> None:
    index = PrefixIndex()
    index.store(A, [1, 2, 3])
    index.clear(A)
    assert index.match([1, 2, 3]).scores() == {}
    assert index.blocks[A] == 0
    index.store(A, [1, 2])
    assert index.match([1, 2, 3]).scores() == {A: 2}
    while not index.sweep(1):
        pass
    assert index.match([1, 2, 3]).scores() == {A: 2}
    assert index.blocks[A] == 2


@pytest.mark.parametrize("workers", [1, 4, 70])
def test_jumps_agree_with_the_exact_walk(workers: int) -> None:
    rng = random.Random(workers)
    hasher = BlockHasher(4)
    prompts = []
    for _ in range(12):
        stem = list(prompts[rng.randrange(len(prompts))][: 4 * rng.randrange(120)]) if prompts else []
        prompts.append(stem + rng.choices(range(50_000), k=4 * rng.randrange(1, 150)))
    hashed = [hasher.sequence(prompt).tolist() for prompt in prompts]
    index = PrefixIndex()
    held: dict[Worker, set[int]] = {Worker(i): set() for i in range(workers)}
    for _ in range(600):
        worker, hashes = Worker(rng.randrange(workers)), rng.choice(hashed)
        action = rng.random()
        if action < 0.6:
            part = hashes[: rng.randrange(len(hashes) + 1)]
            index.store(worker, part)
            held[worker].update(part)
        elif action < 0.9:
            # From some depth on, over all prompts that share the block: what is left stays a set of prefixes.
            cut = rng.randrange(len(hashes))
            gone = {h for other in hashed if len(other) > cut and other[cut] == hashes[cut] for h in other[cut:]}
            index.remove(worker, gone)
            held[worker] -= gone
        elif action < 0.95:
            index.clear(worker)
            held[worker].clear()
        else:
            index.remove_worker(worker)
            held[worker].clear()
        asked = rng.choice(hashed)
        assert index.match(asked).scores() == exact_walk(held, asked)
        assert {w: n for w, n in index.blocks.items() if n} == {w: len(b) for w, b in held.items() if b}


def test_memory_per_indexed_block() -> None:
    """The issue's bound is 150 bytes for each distinct block, however many workers hold it."""
    rng = np.random.default_rng(1)
    batches = rng.integers(0, 2**64, (400, 256), dtype=np.uint64)
    tracemalloc.start()
    index = PrefixIndex()
    for number, batch in enumerate(batches):
        for copy in range(3):
            index.store(Worker((number + copy) % 8), batch.tolist())
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(index) == 400 * 256
    assert used / len(index) <= 150
