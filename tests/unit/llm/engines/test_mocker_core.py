from __future__ import annotations

import random

import pytest

from dynamo.llm.engines.base import BlocksCleared, BlocksRemoved, BlocksStored
from dynamo.llm.engines.mocker_core import MockerCore, MockerOptions, SimRequest
from dynamo.llm.engines.mocker_pool import BlockPool
from dynamo.llm.engines.mocker_timing import TimingModel
from dynamo.llm.kv.mirror import BlockMirror, Emptied, Gone, Held


def tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(1000), k=count)


def core_of(**options: object) -> MockerCore:
    return MockerCore(MockerOptions(**{"num_gpu_blocks": 100, "block_size": 4, "vocab_size": 1000, **options}))


def run(core: MockerCore, limit: int = 10_000) -> list[tuple[str, int]]:
    out = []
    for _ in range(limit):
        if core.idle:
            return out
        core.schedule()
        out.extend((g.request.id, g.token) for g in core.complete())
    raise AssertionError("the engine does not come to an end")


def test_events_of_one_request() -> None:
    """Prompt blocks when they are scheduled, a decode block when it fills, nothing for a hit."""
    core = core_of()
    first = core.request("a", tokens(10), max_tokens=4)
    core.schedule()
    (event,) = core.take_events()
    assert isinstance(event, BlocksStored)
    assert (event.parent_hash, len(event.blocks)) == (None, 2)
    core.complete()
    core.schedule()  # token 11
    assert core.take_events() == []
    core.complete()
    core.schedule()  # token 12 fills the third block
    (event,) = core.take_events()
    assert event.parent_hash == first.names[1]
    assert [b.block_hash for b in event.blocks] == first.names[2:]
    run(core)
    core.take_events()
    again = core.request("b", tokens(10), max_tokens=1)
    core.schedule()
    assert core.take_events() == []
    assert again.prompt_cached == 8
    assert core.load().prefix_queries_tokens == 20
    assert core.load().prefix_hits_tokens == 8


def test_the_last_token_is_computed_again() -> None:
    core = core_of()
    core.request("a", tokens(8), max_tokens=1)
    run(core)
    assert core.request("b", tokens(8), max_tokens=1).prompt_cached is None
    request = core.waiting[0]
    run(core)
    assert request.prompt_cached == 4


def test_chunked_prefill_shares_the_budget() -> None:
    core = core_of(max_num_batched_tokens=16)
    a = core.request("a", tokens(20, 1), max_tokens=8)
    b = core.request("b", tokens(20, 2), max_tokens=8)
    core.schedule()
    assert (a.scheduled, b.scheduled) == (16, 0)
    assert core.complete() == []
    core.schedule()
    assert (a.scheduled, b.scheduled) == (4, 12)
    assert [g.request.id for g in core.complete()] == ["a"]
    core.schedule()
    assert (a.scheduled, b.scheduled) == (1, 8)
    assert [g.request.id for g in core.complete()] == ["a", "b"]


def test_without_chunks_a_prompt_waits_for_a_whole_budget() -> None:
    core = core_of(max_num_batched_tokens=24, enable_chunked_prefill=False)
    core.request("a", tokens(20, 1), max_tokens=2)
    core.request("b", tokens(20, 2), max_tokens=2)
    core.schedule()
    core.complete()
    assert [r.id for r in core.running] == ["a"]
    core.schedule()
    assert [r.id for r in core.running] == ["a", "b"]


def test_slots_bound_the_batch() -> None:
    core = core_of(max_num_seqs=2)
    for name in "abc":
        core.request(name, tokens(4, ord(name)), max_tokens=3)
    core.schedule()
    load = core.load()
    assert (load.running_requests, load.waiting_requests, load.request_slots) == (2, 1, 2)


def test_preemption_starts_the_latest_anew() -> None:
    alone = core_of(num_gpu_blocks=100)
    expected = {}
    for name in "ab":
        alone.request(name, tokens(12, ord(name)), max_tokens=20)
        expected[name] = [token for _, token in run(alone)]
    core = core_of(num_gpu_blocks=12)
    for name in "ab":
        core.request(name, tokens(12, ord(name)), max_tokens=20)
    got: dict[str, list[int]] = {"a": [], "b": []}
    for name, token in run(core):
        got[name].append(token)
    assert core.preemptions > 0
    assert got == expected, "preempted or not, the tokens are the same"
    assert core.pool.active_blocks == 0


def test_tokens_depend_on_seed_and_prompt_alone() -> None:
    def text(seed: int | None, prompt: list[int], **options: object) -> list[int]:
        core = core_of(**options)
        core.request("x", prompt, max_tokens=10, seed=seed)
        return [token for _, token in run(core)]

    assert text(None, tokens(9)) == text(None, tokens(9))
    assert text(None, tokens(9)) == text(0, tokens(9), max_num_batched_tokens=3)
    assert text(None, tokens(9)) != text(1, tokens(9))
    assert text(None, [*tokens(8), 1]) != text(None, [*tokens(8), 2])


def test_vocabulary_stop_ids_and_end_token() -> None:
    core = MockerCore(MockerOptions(block_size=4, default_output_tokens=5), vocabulary=[7])
    core.request("a", [1, 2], max_tokens=None, eos=99)
    assert [t for _, t in run(core)] == [7, 7, 7, 7, 99]
    request = core.request("b", [1, 2], max_tokens=9, stop_ids=[7])
    assert [t for _, t in run(core)] == [7]
    assert request.finish == "stop"
    request = core.request("c", [1, 2], max_tokens=3, eos=99)
    assert [t for _, t in run(core)] == [7, 7, 7]
    assert request.finish == "length"


def test_abort_gives_blocks_back() -> None:
    core = core_of(max_num_seqs=1)
    a = core.request("a", tokens(20, 1), max_tokens=8)
    b = core.request("b", tokens(20, 2), max_tokens=8)
    core.schedule()
    core.abort(a)
    core.abort(b)
    assert core.complete() == []
    assert core.idle
    assert core.pool.active_blocks == 0
    core.abort(a)


def test_ends_of_prefixes_are_evicted_first() -> None:
    core = core_of(num_gpu_blocks=6)
    a = core.request("a", tokens(16, 1), max_tokens=1)
    run(core)
    core.take_events()
    core.request("b", tokens(16, 2), max_tokens=1)
    core.schedule()
    removed = [event for event in core.take_events() if isinstance(event, BlocksRemoved)]
    # Two blocks never used, then a's from its end; a's fifth block was never full.
    assert [event.block_hashes for event in removed] == [(a.names[3],), (a.names[2],)]


def test_clear_waits_for_running_requests() -> None:
    core = core_of()
    core.request("a", tokens(16, 1), max_tokens=3)
    core.schedule()
    core.take_events()
    assert core.pool.clear() is False
    core.complete()
    run(core)
    assert core.pool.clear() is True
    assert core.take_events()[-1] == BlocksCleared()
    assert core.pool.lookup(core.request("b", tokens(16, 1), max_tokens=1).names) == []


def test_without_prefix_caching() -> None:
    core = core_of(enable_prefix_caching=False)
    core.request("a", tokens(16, 1), max_tokens=3)
    run(core)
    request = core.request("b", tokens(16, 1), max_tokens=3)
    run(core)
    assert request.prompt_cached == 0
    assert core.take_events() == []


def test_salt_and_adapter_separate() -> None:
    core = core_of()
    core.request("a", tokens(16, 1), max_tokens=1)
    salted = core.request("b", tokens(16, 1), max_tokens=1, salt="s")
    adapted = core.request("c", tokens(16, 1), max_tokens=1, lora="l")
    run(core)
    assert (salted.prompt_cached, adapted.prompt_cached) == (0, 0)
    labels = {(event.lora, event.salt) for event in core.take_events() if isinstance(event, BlocksStored)}
    assert labels == {(None, None), (None, "s"), ("l", None)}


@pytest.mark.parametrize("seed", range(6))
def test_a_mirror_of_the_events_is_the_cache(seed: int) -> None:
    """Through batching, preemption, eviction and aborts: what routers are told is what the pool would hit."""
    rng = random.Random(seed)
    core, mirror, told = core_of(num_gpu_blocks=40, max_num_batched_tokens=32), BlockMirror(), set()
    stems = [tokens(4 * rng.randrange(1, 10), i) for i in range(5)]
    asked: list[SimRequest] = []
    for number in range(300):
        if rng.random() < 0.3:
            prompt = [*rng.choice(stems), *rng.choices(range(1000), k=rng.randrange(1, 12))]
            asked.append(core.request(str(number), prompt, max_tokens=rng.randrange(1, 20)))
        if asked and rng.random() < 0.05:
            core.abort(rng.choice(asked))
        if rng.random() < 0.02:
            core.pool.clear()
        core.schedule()
        for event in core.take_events():
            change = mirror.apply(event)
            if isinstance(change, Held):
                told |= set(change.hashes)
            elif isinstance(change, Gone):
                told -= set(change.hashes)
            elif isinstance(change, Emptied):
                told.clear()
        assert mirror.orphans == 0
        for request in asked[-8:]:
            hit = len(core.pool.lookup(request.names))
            known = next((i for i, name in enumerate(request.names) if name not in told), len(request.names))
            assert known == hit
        core.complete()
    assert core.pool.cached_blocks >= len(told)


def test_a_step_costs_what_the_roofline_says() -> None:
    timing = TimingModel()
    prefill = timing.step_seconds(4096, 4096 * 2048, 4096)
    assert prefill == pytest.approx(timing.overhead_s + 4096 * timing.token_s + 4096 * 2048 * timing.pair_s)
    decode = timing.step_seconds(8, 8 * 1000, 8 * 1000)
    assert decode == pytest.approx(timing.overhead_s + timing.weights_s + 8000 * timing.position_s)
    assert 0.1 < prefill < 0.3, "4k tokens of an 8B model take some tenths of a second on an H100"
    assert 0.004 < decode < 0.02
    fast, slow = core_of(speedup_ratio=10), core_of()
    for core in (fast, slow):
        core.request("a", tokens(20), max_tokens=2)
    assert slow.schedule() == pytest.approx(10 * fast.schedule())


@pytest.mark.parametrize("name", ["num_gpu_blocks", "block_size", "max_num_seqs", "speedup_ratio"])
def test_options_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        MockerOptions(**{name: 0})
    with pytest.raises(ValueError, match="at least one block"):
        BlockPool(0)
