from __future__ import annotations

import random

import numpy as np
import pytest

from dynamo.llm.kv.active import ActiveLoad, landmarks
from dynamo.llm.kv.hashing import BlockHasher
from dynamo.llm.kv.workers import Worker

A, B = Worker(1), Worker(2)


def load_of(*workers: Worker) -> ActiveLoad:
    load = ActiveLoad(16)
    for slot, worker in enumerate(workers):
        load.add_worker(worker, slot)
    return load


def add(load: ActiveLoad, name: str, worker: Worker, ids: list[int], prefill: float = 0) -> None:
    marks = landmarks(BlockHasher(16).sequence(ids))
    load.add(name, worker, prompt_tokens=len(ids), prefill_blocks=prefill, marks=marks)


def tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(1000), k=count)


def test_landmarks_are_every_block_then_eight_in_each_doubling() -> None:
    hashes = np.arange(1, 301, dtype=np.uint64)
    assert landmarks(hashes) == [
        *range(1, 17), *range(18, 33, 2), *range(36, 65, 4), *range(72, 129, 8), *range(144, 257, 16), 288,
    ]  # fmt: skip
    assert landmarks(hashes[:0]) == []


@pytest.mark.parametrize("shared", [0, 5, 16, 40, 100, 250])
def test_overlap_is_found_from_below_to_within_an_eighth(shared: int) -> None:
    load = load_of(A, B)
    stem = tokens(16 * shared)
    add(load, "a", A, [*stem, *tokens(320, 1)])
    out = load.overlaps(BlockHasher(16).sequence([*stem, *tokens(640, 2)]))
    if not shared:
        assert out is None
        return
    assert out is not None
    assert shared * 7 / 8 <= out[0] <= shared
    assert out[1] == 0


def test_a_shared_prefix_is_held_once() -> None:
    load = load_of(A, B)
    stem = tokens(16 * 128)
    add(load, "a", A, [*stem, *tokens(64, 1)])
    add(load, "b", A, [*stem, *tokens(64, 2)])
    assert load.held_blocks[0] == 128 + 4 + 4
    load.finish("a")
    assert load.held_blocks[0] == 128 + 4
    load.finish("b")
    assert load.held_blocks[0] == 0
    assert load.overlaps(BlockHasher(16).sequence(stem)) is None


def test_many_workers() -> None:
    workers = [Worker(i) for i in range(200)]
    load = load_of(*workers)
    for worker in workers:
        add(load, str(worker.instance), worker, tokens(160, worker.instance), prefill=10)
    assert load.prefill_blocks[:200].tolist() == [10] * 200
    assert load.remove_worker(Worker(150)) == ["150"]
    assert load.held_blocks[149:152].tolist() == [10, 0, 10]
    out = load.overlaps(BlockHasher(16).sequence(tokens(160, 199)))
    assert out is not None
    assert np.flatnonzero(out).tolist() == [199]
    assert out[199] == 10


def test_everything_comes_back_to_nothing() -> None:
    rng = random.Random(3)
    load = load_of(A, B)
    stems = [tokens(16 * rng.randrange(200), i) for i in range(5)]
    live: list[str] = []
    for number in range(500):
        name = str(number)
        add(load, name, rng.choice([A, B]), [*rng.choice(stems), *rng.choices(range(1000), k=rng.randrange(1, 90))], 3)
        live.append(name)
        if rng.random() < 0.5:
            load.first_token(rng.choice(live))
            load.progress(rng.choice(live), rng.randrange(1, 300))
        if rng.random() < 0.7:
            load.finish(live.pop(rng.randrange(len(live))))
    for name in live:
        load.finish(name)
    for array in (load.prefill_blocks, load.held_blocks, load.requests):
        assert not array.any()
    assert len(load) == 0
