from __future__ import annotations

import random

import pytest

from dynamo.llm.engines.base import EngineLoad
from dynamo.llm.kv.decision import Decision
from dynamo.llm.kv.hashing import root_hash
from dynamo.llm.kv.mirror import Emptied, Gone, Held
from dynamo.llm.kv.options import InvalidOption, RouteOverrides, RouterOptions, read_options
from dynamo.llm.kv.router import KvRouter
from dynamo.llm.kv.scheduler import AllWorkersBusy, NoCandidates
from dynamo.llm.kv.workers import Worker


def tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(128_000), k=count)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def router_of(count: int = 4, **options: object) -> KvRouter:
    router = KvRouter(RouterOptions(**options))
    for instance in range(1, count + 1):
        router.add_worker(Worker(instance))
    return router


def hold(router: KvRouter, instance: int, ids: list[int], *, dp_rank: int = 0, root: int = 0) -> None:
    router.apply(instance, Held(dp_rank, router.hasher.sequence(ids, root).tolist()))


def send(router: KvRouter, request_id: str, ids: list[int], **kw: object) -> Decision:
    decision = router.find_best(ids, request_id=request_id, **kw)
    router.routed(decision)
    return decision


def test_the_worker_with_the_longest_prefix_wins() -> None:
    router, ids = router_of(prefill_load_scale=1), tokens(512)
    hold(router, 2, ids[:256])
    hold(router, 3, ids)
    decision = router.find_best([*ids, *tokens(100, 1)])
    assert decision.worker == Worker(3)
    assert (decision.prompt_blocks, decision.overlap_blocks, decision.best_overlap_blocks) == (38, 32, 32)
    table = {c.worker.instance: (c.overlap_blocks, c.cost) for c in decision.candidates}
    prompt = 39  # 612 tokens touch this many blocks
    assert table == {3: (32, 2 * prompt - 32), 2: (16, 2 * prompt - 16), 1: (0, 2 * prompt), 4: (0, 2 * prompt)}
    assert decision.candidates[0].worker == decision.worker


def test_the_last_token_is_always_computed() -> None:
    router, ids = router_of(1), tokens(64)
    hold(router, 1, ids)
    assert router.find_best(ids).overlap_blocks == 3
    assert router.find_best([*ids, 1]).overlap_blocks == 4


def test_requests_within_one_interval_spread_out() -> None:
    router = router_of(4)
    chosen = [send(router, str(i), tokens(512, i)).worker.instance for i in range(8)]
    assert sorted(chosen) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_prefix_in_flight_counts_before_any_event() -> None:
    router, ids = router_of(4), tokens(2048)
    first = send(router, "a", [*ids, *tokens(64, 1)])
    second = router.find_best([*ids, *tokens(64, 2)])
    seen = {candidate.worker: candidate.overlap_blocks for candidate in second.candidates}
    assert seen[first.worker] == 128
    assert sum(seen.values()) == 128
    assert router.find_best(ids, overrides=RouteOverrides(overlap_weight=2)).worker == first.worker
    router.finished("a")
    assert router.find_best(ids).overlap_blocks == 0, "only what the worker reports stays"


def test_a_cached_prompt_is_no_work_ahead_even_before_its_first_token_is_reported() -> None:
    router, ids = router_of(2), tokens(320)
    chosen = send(router, "a", ids).worker
    slot = router.table.slot(chosen)
    assert router.active.prefill_blocks[slot] == 20
    hold(router, 3 - chosen.instance, ids)
    assert router.active.prefill_blocks[slot] == 20, "another worker has it"
    router.remove_instance(3 - chosen.instance)
    router.add_worker(Worker(3))
    hold(router, chosen.instance, ids[:160])
    assert router.active.prefill_blocks[slot] == 20, "half of it"
    hold(router, chosen.instance, ids)
    assert router.active.prefill_blocks[slot] == 0
    again = send(router, "b", [*ids, 1])
    assert (again.worker, again.overlap_blocks) == (chosen, 20)
    router.first_token("a", 0)
    for name in ("a", "b"):
        router.finished(name)
    assert router.active.prefill_blocks.tolist() == router.active.held_blocks.tolist() == [0.0] * 64
    assert not router.active.awaited


def test_load_is_given_back() -> None:
    router, ids = router_of(2), tokens(100)
    decision = send(router, "a", ids)
    slot = router.table.slot(decision.worker)
    active = router.active
    assert (active.prefill_blocks[slot], active.held_blocks[slot], active.requests[slot]) == (7, 7, 1)
    router.first_token("a", cached_tokens=0)
    assert active.prefill_blocks[slot] == 0
    router.progress("a", 12)
    assert active.held_blocks[slot] == 7
    router.progress("a", 13)
    assert active.held_blocks[slot] == 8
    router.finished("a")
    router.finished("a")
    assert (active.prefill_blocks[slot], active.held_blocks[slot], active.requests[slot]) == (0, 0, 0)


def test_a_retry_replaces_the_first_attempt() -> None:
    router, ids = router_of(2), tokens(100)
    first = send(router, "a", ids)
    second = send(router, "a", ids, excluded={first.worker.instance})
    assert second.worker != first.worker
    assert len(router.active) == 1


def test_a_lost_worker_takes_everything_with_it() -> None:
    router, ids = router_of(2), tokens(512)
    hold(router, 1, ids)
    assert send(router, "a", ids).worker == Worker(1)
    router.remove_instance(1)
    decision = router.find_best(ids)
    assert (decision.worker, decision.best_overlap_blocks) == (Worker(2), 0)
    router.first_token("a", 0)
    router.finished("a")
    router.remove_instance(1)
    router.remove_instance(2)
    with pytest.raises(NoCandidates, match="no worker has joined"):
        router.find_best(ids)
    router.add_worker(Worker(9))
    assert router.find_best(ids).worker == Worker(9)


def test_cache_changes() -> None:
    router, ids = router_of(1), tokens(161)
    hashes = router.hasher.sequence(ids).tolist()
    hold(router, 1, ids)
    router.apply(1, Gone(0, hashes[4:]))
    assert router.find_best(ids).overlap_blocks == 4
    router.apply(1, Emptied(0))
    assert router.find_best(ids).overlap_blocks == 0
    router.restore(1, [Held(0, hashes[:3])])
    assert router.find_best(ids).overlap_blocks == 3
    router.restore(1, [])
    assert router.find_best(ids).overlap_blocks == 0


def test_data_parallel_ranks_are_workers() -> None:
    router, ids = KvRouter(), tokens(161)
    hold(router, 1, ids[:32])
    hold(router, 1, ids, dp_rank=1)
    assert router.find_best(ids).worker == Worker(1, 1)
    assert Worker(1, 1).label == "0000000000000001.1"
    router.remove_instance(1)
    assert router.workers == []


def test_salt_and_adapter_are_part_of_the_key() -> None:
    router, ids = router_of(1), tokens(161)
    hold(router, 1, ids, root=root_hash("adapter", None))
    assert router.find_best(ids).overlap_blocks == 0
    assert router.find_best(ids, lora="adapter").overlap_blocks == 10
    assert router.find_best(ids, lora="adapter", salt="s").overlap_blocks == 0


def test_round_robin_random_and_least_loaded() -> None:
    router = router_of(3, mode="round-robin")
    chosen = [router.find_best(tokens(10)).worker.instance for _ in range(6)]
    assert sorted(chosen[:3]) == [1, 2, 3]
    assert chosen[:3] == chosen[3:]
    lots = [router.find_best(tokens(10), overrides=RouteOverrides(mode="random")).worker for _ in range(100)]
    assert len(set(lots)) == 3
    router = router_of(3, mode="least-loaded")
    assert {send(router, str(i), tokens(10)).worker.instance for i in range(3)} == {1, 2, 3}
    router.finished("1")
    assert len(router.active) == 2
    free = ({1, 2, 3} - {r.worker.instance for r in (router.active.get("0"), router.active.get("2")) if r}).pop()
    assert router.find_best(tokens(10)).worker.instance == free


def test_kv_load_ignores_caches() -> None:
    router, ids = router_of(2, mode="kv-load"), tokens(512)
    hold(router, 1, ids)
    assert {send(router, str(i), ids).worker.instance for i in range(2)} == {1, 2}


def test_approximate_prefixes_expire() -> None:
    clock = Clock()
    router = KvRouter(RouterOptions(mode="approx-kv", approx_ttl=120), clock=clock)
    for instance in (1, 2):
        router.add_worker(Worker(instance))
    ids = tokens(512)
    first = send(router, "a", [*ids, *tokens(50, 1)])
    router.finished("a")
    clock.now = 100
    again = send(router, "b", [*ids, *tokens(50, 2)])
    assert (again.worker, again.overlap_blocks) == (first.worker, 32)
    router.finished("b")
    clock.now = 219
    assert router.find_best(ids).best_overlap_blocks == 31
    clock.now = 221
    assert router.find_best(ids).best_overlap_blocks == 0


def test_a_request_whose_end_nobody_reports_is_dropped() -> None:
    clock = Clock()
    router = KvRouter(RouterOptions(request_ttl=60), clock=clock)
    router.add_worker(Worker(1))
    send(router, "lost", tokens(100))
    clock.now = 50
    send(router, "later", tokens(100, 1))
    clock.now = 70
    send(router, "latest", tokens(100, 2))
    assert [name in router.active for name in ("lost", "later", "latest")] == [False, True, True]


def test_the_sdk_era_formula() -> None:
    router, ids = router_of(3, cost="usage"), tokens(320)
    hold(router, 1, ids[:160])
    router.report(Worker(1), EngineLoad(cache_usage=0.5, waiting_requests=4, total_blocks=100))
    router.report(Worker(2), EngineLoad(cache_usage=0.25, waiting_requests=2, total_blocks=100))
    costs = {c.worker.instance: c.cost for c in router.find_best(ids).candidates}
    assert costs == pytest.approx({1: -(2 * 160 / 320 - 0.5 - 4 / 4), 2: -(0 - 0.25 - 2 / 4), 3: 0.0})


def test_a_worker_that_left_weighs_on_nobody() -> None:
    router, ids = router_of(2, cost="usage"), tokens(320)
    router.report(Worker(1), EngineLoad(waiting_requests=2, total_blocks=100))
    router.report(Worker(2), EngineLoad(waiting_requests=100, cache_usage=0.9, total_blocks=100))
    router.remove_instance(2)
    (candidate,) = router.find_best(ids).candidates
    assert candidate.cost == pytest.approx(2 / 2), "the most waiting is the only one's own"
    router.add_worker(Worker(3))
    costs = {c.worker.instance: c.cost for c in router.find_best(ids).candidates}
    assert costs == pytest.approx({1: 1.0, 3: 0.0})


@pytest.mark.parametrize("mode", ["kv", "approx-kv", "least-loaded"])
def test_hundreds_of_workers(mode: str) -> None:
    router, ids = router_of(300, mode=mode), tokens(512, 999)
    assert len({send(router, str(i), tokens(512, i)).worker for i in range(300)}) == 300
    hold(router, 299, ids)
    assert router.find_best(ids, overrides=RouteOverrides(mode="kv")).worker == Worker(299)


def test_a_prompt_that_nobody_has_goes_where_it_evicts_least() -> None:
    router = router_of(3)
    hold(router, 1, tokens(320, 1))
    hold(router, 3, tokens(640, 2))
    assert {router.find_best(tokens(320, 3)).worker.instance for _ in range(4)} == {2}
    hold(router, 2, tokens(640, 4))
    assert {router.find_best(tokens(320, 3)).worker.instance for _ in range(4)} == {1}
    assert router.find_best(tokens(640, 2)).worker.instance == 3


def test_weights_per_request() -> None:
    router, ids = router_of(2, prefill_load_scale=1), tokens(320)
    hold(router, 1, ids)
    for i in range(3):
        send(router, str(i), tokens(160, i), overrides=RouteOverrides(worker=1))
    assert router.find_best(ids).worker == Worker(2)
    assert router.find_best(ids, overrides=RouteOverrides(overlap_weight=3, prefill_load_scale=4)).worker == Worker(1)
    assert router.find_best(ids, overrides=RouteOverrides(worker=1)).worker == Worker(1)
    with pytest.raises(NoCandidates, match="none of the 2 known workers"):
        router.find_best(ids, overrides=RouteOverrides(worker=7))
    assert router.find_best(ids, allowed={1}).worker == Worker(1)


def test_temperature_spreads() -> None:
    router, ids = router_of(4), tokens(512)
    hold(router, 2, ids)
    cold = {router.find_best(ids).worker for _ in range(50)}
    warm = [router.find_best(ids, overrides=RouteOverrides(temperature=0.5)).worker for _ in range(200)]
    assert cold == {Worker(2)}
    assert set(warm) == set(router.workers)
    assert max(set(warm), key=warm.count) == Worker(2)


def test_busy_thresholds() -> None:
    router, ids = router_of(2, busy_usage=0.9, busy_waiting=5), tokens(64)
    hold(router, 1, ids)
    router.report(Worker(1), EngineLoad(cache_usage=0.95, total_blocks=100))
    decision = router.find_best(ids)
    assert decision.worker == Worker(2)
    assert {c.worker.instance: c.eligible for c in decision.candidates} == {1: False, 2: True}
    assert decision.best_overlap_blocks == 0, "a miss is avoidable only when an eligible worker held more"
    router.report(Worker(2), EngineLoad(waiting_requests=5, total_blocks=100))
    with pytest.raises(AllWorkersBusy, match="all 2 workers"):
        router.find_best(ids)


def test_predicted_and_actual_rates() -> None:
    router, ids = router_of(1), tokens(161)
    hold(router, 1, ids)
    send(router, "a", ids)
    router.first_token("a", cached_tokens=144)
    router.first_token("a", cached_tokens=144)
    send(router, "b", tokens(40, 5))
    router.first_token("b", cached_tokens=0)
    assert router.rates.predicted.ratio_of_sums == pytest.approx(10 / 12)
    assert router.rates.predicted.mean_of_ratios == pytest.approx(0.5)
    assert router.rates.actual.ratio_of_sums == pytest.approx(9 / 12)
    assert router.rates.actual.mean_of_ratios == pytest.approx(0.45)
    assert router.worker_rates[Worker(1)].actual.requests == 2
    assert router.rates.avoidable_share == 0


def test_avoidable_blocks() -> None:
    router, ids = router_of(2), tokens(161)
    hold(router, 1, ids)
    send(router, "a", ids, overrides=RouteOverrides(worker=2, mode="random"))
    assert router.rates.avoidable_blocks == 0, "no eligible worker held more"
    taken = [send(router, f"r{i}", ids, overrides=RouteOverrides(mode="round-robin")) for i in range(2)]
    lost = sum(d.avoidable_blocks for d in taken)
    assert router.rates.avoidable_blocks == lost


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("mode", {"mode": "kv2"}),
        ("cost", {"cost": "x"}),
        ("temperature", {"temperature": -1}),
        ("block_size", {"block_size": 0}),
        ("busy_usage", {"busy_usage": 1.5}),
        ("busy_waiting", {"busy_waiting": 0}),
        ("approx_ttl", {"approx_ttl": 0}),
        ("request_ttl", {"request_ttl": -1}),
        ("overlap_weight", {"overlap_weight": float("nan")}),
    ],
)
def test_options_out_of_range(option: str, values: dict[str, object]) -> None:
    with pytest.raises(InvalidOption, match=f"router option {option}"):
        RouterOptions(**values)


def test_options_from_plain_values() -> None:
    assert read_options({"mode": "random", "worker": 7}, RouteOverrides) == RouteOverrides(mode="random", worker=7)
    assert read_options({"block_size": 32}, RouterOptions) == RouterOptions(block_size=32)
    for values, problem in (
        ({"mode": "guess"}, "router option mode: 'guess' is not one of kv, approx-kv, kv-load"),
        ({"mode": 3}, "router option mode: 3 is not one of"),
        ({"colour": 1}, "router option colour: there is none of that name, but mode, cost"),
        ({"temperature": -1}, "router option temperature: must be 0 or more"),
        ({"overlap_weight": "much"}, "router option overlap_weight: Expected `float | null`, got `str`"),
    ):
        with pytest.raises(InvalidOption) as caught:
            read_options(values, RouteOverrides)
        assert str(caught.value).startswith(problem)
