from __future__ import annotations

from typing import Any

import pytest

from dynamod.observe.kv.picture import DECISIONS_KEPT, KvPicture
from dynamod.observe.kv.window import Second, Tally


def decision(seq: int, t: float, *, worker: str = "a1", overlap: int = 0, best: int | None = None) -> dict[str, Any]:
    return {
        "kind": "decision",
        "seq": seq,
        "t": t,
        "request_id": f"r{seq}",
        "worker": worker,
        "mode": "kv",
        "prompt_blocks": 10,
        "overlap_blocks": overlap,
        "best_overlap_blocks": overlap if best is None else best,
        "candidates": [{"worker": worker, "overlap_blocks": overlap, "active_blocks": 0, "cost": 1.0}],
    }


@pytest.fixture
def picture() -> KvPicture:
    return KvPicture("llm", lambda worker: f"replica-of-{worker}")


def test_both_hit_rates_over_the_window_and_per_worker(picture: KvPicture) -> None:
    picture.apply({"kind": "config", "block_size": 16, "mode": "kv"}, 100.0)
    picture.apply({**decision(1, 100.0, overlap=8), "prompt_blocks": 10}, 100.0)
    picture.apply({**decision(2, 101.0, worker="b2", overlap=0), "prompt_blocks": 30}, 101.0)
    snapshot = picture.snapshot(102.0, 60.0)
    assert (snapshot.block_size, snapshot.mode, snapshot.seq) == (16, "kv", 2)
    assert snapshot.predicted.ratio_of_sums == pytest.approx(8 / 40)
    assert snapshot.predicted.mean_of_ratios == pytest.approx(0.4)
    assert snapshot.actual.ratio_of_sums is None
    assert [(w.worker, w.replica, w.predicted.ratio_of_sums) for w in snapshot.workers] == [
        ("a1", "replica-of-a1", 0.8),
        ("b2", "replica-of-b2", 0.0),
    ]


def test_what_the_engine_had_cached_is_kept_apart_and_joined_to_its_decision(picture: KvPicture) -> None:
    picture.apply(decision(1, 100.0, overlap=8), 100.0)
    picture.apply(
        {"kind": "actual", "request_id": "r1", "worker": "a1", "prompt_blocks": 10, "cached_blocks": 5}, 100.5
    )
    snapshot = picture.snapshot(101.0)
    assert snapshot.predicted.ratio_of_sums == 0.8
    assert snapshot.actual.ratio_of_sums == 0.5
    assert snapshot.decisions[0].actual_cached_blocks == 5


def test_avoidable_misses_are_a_share_of_what_had_to_be_computed(picture: KvPicture) -> None:
    picture.apply(decision(1, 100.0, overlap=2, best=6), 100.0)
    snapshot = picture.snapshot(101.0)
    assert snapshot.avoidable_blocks == 4
    assert snapshot.avoidable_share == pytest.approx(4 / (4 + 4))


def test_what_is_older_than_the_window_does_not_count(picture: KvPicture) -> None:
    picture.apply(decision(1, 100.0, overlap=10), 100.0)
    picture.apply(decision(2, 200.0, overlap=0), 200.0)
    assert picture.snapshot(200.5, 60.0).predicted.ratio_of_sums == 0.0
    assert picture.snapshot(200.5, 200.0).predicted.ratio_of_sums == 0.5


def test_a_decision_that_is_told_twice_counts_once(picture: KvPicture) -> None:
    assert picture.apply(decision(1, 100.0, overlap=10), 100.0, "router") is not None
    picture.restart()
    assert picture.apply(decision(1, 100.0, overlap=10), 101.0, "router") is None
    assert picture.apply(decision(1, 100.0, overlap=10), 101.0, "another router") is not None
    assert picture.snapshot(101.0).predicted.requests == 2


def test_what_comes_late_counts_in_its_own_second(picture: KvPicture) -> None:
    picture.apply(decision(1, 100.0), 100.0, "a")
    picture.apply(decision(2, 103.0), 103.0, "a")
    picture.apply(decision(1, 101.5), 103.0, "b")
    assert [picture.snapshot(103.9, reach).predicted.requests for reach in (1.0, 3.5, 10.0)] == [1, 2, 3]


def test_what_an_earlier_daemon_counted_is_shown_and_not_counted_again(picture: KvPicture) -> None:
    actual = {"kind": "actual", "worker": "a1", "prompt_blocks": 10, "cached_blocks": 5}
    past = Second(100, predicted={"": Tally(1, 10, 8, 0.8)}, actual={"": Tally(1, 10, 5, 0.5)})
    picture.remember([past], written_until=101.0)
    for entry in (
        decision(1, 100.2, overlap=8),
        decision(2, 105.0, overlap=0),
        {**actual, "request_id": "r1"},
        {**actual, "request_id": "r2"},
    ):
        picture.apply(entry, 110.0, "router", repeated=True)
    snapshot = picture.snapshot(111.0)
    assert [(one.seq, one.actual_cached_blocks) for one in snapshot.decisions] == [(1, 5), (2, 5)]
    assert (snapshot.predicted.requests, snapshot.predicted.blocks_reused) == (2, 8)
    assert (snapshot.actual.requests, snapshot.actual.blocks_reused) == (2, 10)
    picture.apply({**actual, "request_id": "r2"}, 112.0, "router", repeated=True)  # the feed is taken up again
    assert picture.snapshot(113.0).actual.requests == 2


def test_only_the_latest_decisions_are_kept(picture: KvPicture) -> None:
    for seq in range(DECISIONS_KEPT + 50):
        picture.apply(decision(seq, 100.0), 100.0)
    decisions = picture.snapshot(101.0).decisions
    assert len(decisions) == DECISIONS_KEPT
    assert decisions[-1].seq == DECISIONS_KEPT + 49


def test_a_broken_entry_is_refused_and_an_unknown_kind_left_alone(picture: KvPicture) -> None:
    with pytest.raises(ValueError, match="decision"):
        picture.apply({"kind": "decision", "seq": "x"}, 1.0)
    assert picture.apply({"kind": "from the future"}, 1.0) is None
