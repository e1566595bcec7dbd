"""The serving targets on a simulated cluster: virtual clock, so exact and the same on every machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kv.cluster import Cluster, Outcome, shared_prefixes, unshared
from benchmarks.kv.trace import arrivals_of, conversations, read_trace
from dynamo.llm.engines.mocker_core import MockerOptions
from dynamo.llm.kv.options import RouterOptions

LARGE, SMALL = 16384, 1536
"""Blocks a worker: all 20 prefixes fit, or about half of them do."""


def shared(mode: str, *, blocks: int = LARGE, workers: int = 4, concurrency: int = 8, requests: int = 400) -> Outcome:
    cluster = Cluster(workers, MockerOptions(num_gpu_blocks=blocks), RouterOptions(mode=mode))
    return cluster.run(shared_prefixes(requests=requests), concurrency=concurrency)


@pytest.mark.parametrize(("blocks", "least"), [(LARGE, 0.88), (SMALL, 0.80)])
def test_shared_prefixes(blocks: int, least: float) -> None:
    routed, turns = shared("kv", blocks=blocks), shared("round-robin", blocks=blocks)
    assert routed.actual >= least
    assert turns.actual <= 0.78
    assert routed.ttft_mean < turns.ttft_mean
    for outcome in (routed, turns):
        assert abs(outcome.predicted - outcome.actual) <= 0.02
    assert routed.avoidable_share < turns.avoidable_share


def test_one_at_a_time_is_ideal() -> None:
    """160 requests over 20 prefixes of 128 blocks, 4 blocks of their own: every prefix is computed once."""
    outcome = shared("kv", concurrency=1, requests=160)
    assert outcome.actual == pytest.approx(140 * 128 / (160 * 132))
    assert outcome.avoidable_share == 0


def test_sixteen_workers() -> None:
    routed = shared("kv", workers=16, concurrency=32, requests=480)
    turns = shared("round-robin", workers=16, concurrency=32, requests=480)
    assert routed.actual >= 0.88
    assert turns.actual < routed.actual
    assert routed.ttft_at(0.99) <= turns.ttft_at(0.99)
    assert abs(routed.predicted - routed.actual) <= 0.02


@pytest.mark.parametrize(("workers", "concurrency"), [(4, 8), (4, 32), (16, 64)])
def test_without_shared_prefixes_no_worse_than_round_robin(workers: int, concurrency: int) -> None:
    def tail(mode: str) -> float:
        cluster = Cluster(workers, MockerOptions(), RouterOptions(mode=mode))
        return cluster.run(unshared(requests=240), concurrency=concurrency).ttft_at(0.99)

    assert tail("kv") <= tail("round-robin")


def test_without_events_it_still_finds_prefixes() -> None:
    outcome = shared("approx-kv")
    assert outcome.actual >= 0.88


def test_an_open_loop_of_conversations() -> None:
    arrivals = arrivals_of(conversations(60, rate=4.0))

    def replayed(mode: str) -> Outcome:
        return Cluster(4, MockerOptions(num_gpu_blocks=8192), RouterOptions(mode=mode)).replay(arrivals)

    routed, turns = replayed("kv"), replayed("round-robin")
    assert len(routed.ttft) == len(turns.ttft) == len(arrivals)
    assert routed.actual > turns.actual + 0.05
    assert routed.ttft_mean < turns.ttft_mean
    assert abs(routed.predicted - routed.actual) <= 0.02


@pytest.mark.parametrize("told", [1.0, 2.0, None])
def test_without_events_predictions_hold_when_caches_overflow(told: float | None) -> None:
    """Whether workers say how large their caches are, say twice as much, or say nothing."""
    arrivals = arrivals_of(conversations(150, rate=12.0))
    cluster = Cluster(4, MockerOptions(num_gpu_blocks=2048), RouterOptions(mode="approx-kv"), told_capacity=told)
    outcome = cluster.replay(arrivals)
    assert outcome.actual < 0.72
    assert abs(outcome.predicted - outcome.actual) <= 0.02


def test_runs_repeat() -> None:
    first, second = shared("kv", requests=100), shared("kv", requests=100)
    assert first == second


def test_traces_from_files(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    line = '{"timestamp": %d, "input_length": 600, "output_length": 5, "hash_ids": [1, %d], "type": "chat"}\n'
    file.write_text("".join(line % (1000 * second, second) for second in (7, 9)))
    (first, one), (second, other) = arrivals_of(read_trace(file, 10), speed=2)
    assert (first, second) == (0, 1)
    assert (len(one.tokens), one.output_tokens) == (600, 5)
    assert one.tokens[:512] == other.tokens[:512]
    assert one.tokens[512:] != other.tokens[512:]
    assert len(read_trace(file, 1)) == 1
    file.write_text(line % (1, 1) + '{"timestamp": "soon"}\n')
    with pytest.raises(SystemExit, match=r"trace\.jsonl:2: no entry of a trace in Mooncake's format"):
        read_trace(file, 10)
    with pytest.raises(SystemExit, match="No such file"):
        read_trace(tmp_path / "none", 10)
