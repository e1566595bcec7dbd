"""What is reckoned of caches that report nothing."""

from __future__ import annotations

import numpy as np
import pytest

from dynamo.llm.kv.approx import ApproxIndex
from dynamo.llm.kv.hashing import Hashes
from dynamo.llm.kv.workers import Worker

W = Worker(1)


def prompt(name: int, blocks: int) -> Hashes:
    return np.arange(1000 * name + 1, 1000 * name + 1 + blocks, dtype=np.uint64)


def serve(index: ApproxIndex, hashes: Hashes, now: float, *, cached: int | None = None, generated: int = 0) -> int:
    """One request from its routing to its end; how many blocks were taken to be cached."""
    expected = held(index, hashes, now)
    index.routed("r", W, hashes, expected)
    index.first_token("r", expected if cached is None else cached)
    index.finished("r", generated, now)
    return expected


def held(index: ApproxIndex, hashes: Hashes, now: float = 0.0) -> int:
    return index.match(hashes, now).scores().get(W, 0)


def test_the_least_recently_used_goes_first_from_its_end_on() -> None:
    index = ApproxIndex()
    index.set_capacity(W, 20)
    for now, name in enumerate((1, 2)):
        serve(index, prompt(name, 10), now)
    assert serve(index, prompt(1, 10), 2) == 10
    serve(index, prompt(3, 4), 3)
    assert [held(index, prompt(name, 10)) for name in (1, 2)] == [10, 6]
    assert held(index, prompt(3, 4)) == 4


def test_generated_blocks_need_room_as_well() -> None:
    index = ApproxIndex()
    index.set_capacity(W, 20)
    serve(index, prompt(1, 10), 0)
    serve(index, prompt(2, 5), 1, generated=8)
    assert held(index, prompt(1, 10)) == 7


def test_blocks_in_use_are_not_evicted() -> None:
    index = ApproxIndex()
    index.set_capacity(W, 10)
    index.routed("long", W, prompt(1, 8))
    serve(index, prompt(2, 5), 1)
    serve(index, prompt(3, 5), 2)
    assert held(index, prompt(1, 8)) == 8
    index.finished("long", 0, 3)
    assert held(index, prompt(3, 5)) == 2


def test_with_a_known_capacity_time_alone_evicts_nothing() -> None:
    index = ApproxIndex(ttl=10)
    serve(index, prompt(1, 5), 0)
    assert held(index, prompt(1, 5), 11) == 0
    index.set_capacity(W, 100)
    serve(index, prompt(1, 5), 20)
    assert held(index, prompt(1, 5), 1000) == 5


def test_a_missing_block_says_that_all_older_ones_are_gone_and_how_much_fits() -> None:
    index = ApproxIndex()
    for now, name in enumerate(range(1, 6)):
        serve(index, prompt(name, 10), now)
    assert serve(index, prompt(3, 10), 5, cached=4) == 10
    assert [held(index, prompt(name, 10), 5) for name in range(1, 6)] == [0, 0, 10, 10, 10]
    serve(index, prompt(6, 10), 6)
    assert held(index, prompt(4, 10), 6) == 0, "30 blocks fit, as far as it is known"
    assert serve(index, prompt(4, 10), 7, cached=10) == 0
    serve(index, prompt(7, 10), 8)
    assert [held(index, prompt(name, 10), 8) for name in (3, 6, 4, 7)] == [10, 10, 10, 10], "40 do"


def test_a_lost_worker_is_forgotten_with_its_requests() -> None:
    index = ApproxIndex()
    index.routed("r", W, prompt(1, 5))
    index.remove_worker(W)
    index.first_token("r", 0)
    index.finished("r", 0, 1)
    assert held(index, prompt(1, 5)) == 0


def test_ttl_must_be_positive() -> None:
    with pytest.raises(ValueError, match="ttl"):
        ApproxIndex(0)
