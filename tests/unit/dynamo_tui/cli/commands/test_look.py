"""Logs, events, metrics, KV routing and GPUs."""

from __future__ import annotations

import msgspec
import pytest

from dynamod.schema.graphs import GpuShare, Page
from dynamod.schema.observations import (
    Gpu,
    GpuClaim,
    GpuProcess,
    HitRate,
    KvCandidate,
    KvDecision,
    KvSnapshot,
    KvWorker,
    LogGap,
    LogLine,
    Series,
    ServiceRates,
)
from dynamod.schema.states import Action
from tests.unit.dynamo_tui import sample
from tests.unit.dynamo_tui.cli.conftest import Dynamoctl
from tests.unit.dynamo_tui.standin import Asked, Reply, StandIn


def line(n: int, replica: str = "hello-middle-1") -> LogLine:
    return LogLine(t=1767323045.5, replica=replica, service="Middle", line=n, level="info", text=f"line {n}")


def sse(event: str, *items: object) -> list[bytes]:
    return [b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(item)) for item in items]


def once(chunks: list[bytes]) -> object:
    """A stream that is served once; asked again it is gone, which ends a follower."""
    served: list[bool] = []

    def route(_: Asked) -> Reply:
        if served:
            return Reply(410, b'{"type":"gone","title":"over","status":410}')
        served.append(True)
        return Reply(chunks=chunks)

    return route


def test_logs_are_filtered_by_the_server_and_printed_with_their_replica(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.answer("GET /v1/graphs/hello/logs", Page(items=[line(0), line(1, "hello-middle-22")]))
    outcome = dynamoctl(
        "logs", "hello", "Middle", "--regex", "a b", "--level", "warning", "--tail", "5", "--since", "1767323000"
    )
    assert outcome.stdout == "hello-middle-1 | line 0\nhello-middle-22 | line 1\n"
    target = local.asked[-1].target
    for part in ("service=Middle", "regex=a+b", "level=warning", "tail=5", "since=1767323000.0"):
        assert part in target
    assert [x["text"] for x in map(msgspec.json.decode, dynamoctl("logs", "hello", "--json").stdout.splitlines())] == [
        "line 0",
        "line 1",
    ]
    assert dynamoctl("logs", "hello", "-t").stdout.startswith("2026-01-0")


def test_followed_logs_tell_of_skipped_lines_on_stderr(dynamoctl: Dynamoctl, local: StandIn) -> None:
    chunks = [*sse("line", line(0)), *sse("gap", LogGap(skipped=1204)), *sse("line", line(1205))]
    local.routes["GET /v1/graphs/hello/logs/stream"] = once(chunks)  # type: ignore[assignment]
    outcome = dynamoctl("logs", "hello", "-f")
    assert outcome.stdout == "hello-middle-1 | line 0\nhello-middle-1 | line 1205\n"
    assert outcome.stderr.splitlines()[0] == "… 1,204 lines skipped"
    assert "tail=100" in local.asked[0].target


def test_events(dynamoctl: Dynamoctl, local: StandIn) -> None:
    rows = [sample.event(n, action=Action.SERVICE_SCALED, actor="user:1000", service="Middle") for n in (1, 2, 3)]
    local.answer("GET /v1/events", Page(items=rows))
    lines = dynamoctl("events", "hello", "--tail", "2").stdout.splitlines()
    assert [x.split()[0] for x in lines] == ["SEQ", "2", "3"]
    assert "service.scaled" in lines[1]
    assert "hello/Middle" in lines[1]
    assert "user:1000" in lines[1]


def test_watched_events_begin_where_the_daemon_is_now(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.routes["GET /v1/events/stream"] = once(sse("event", sample.event(42)))  # type: ignore[assignment]
    outcome = dynamoctl("events", "-w", "--json")
    assert msgspec.json.decode(outcome.stdout)["seq"] == 42
    assert "after=41" in local.asked[1].target


SNAPSHOT = KvSnapshot(
    graph="llm",
    t=1767323045.5,
    window_s=60,
    seq=9,
    block_size=16,
    mode="kv",
    predicted=HitRate(requests=10, blocks_asked=1000, blocks_reused=900, ratio_of_sums=0.9, mean_of_ratios=0.8),
    actual=HitRate(requests=10, blocks_asked=1000, blocks_reused=875, ratio_of_sums=0.875, mean_of_ratios=0.79),
    workers=[
        KvWorker(worker="00ab", replica="llm-worker-1", active_requests=2, cache_usage=0.25),
        KvWorker(worker="00ab.1", replica="llm-worker-1"),
    ],
    decisions=[
        KvDecision(
            seq=9,
            t=1767323045.5,
            request_id="r-1",
            worker="00ab",
            mode="kv",
            prompt_blocks=128,
            overlap_blocks=120,
            best_overlap_blocks=120,
            candidates=[KvCandidate(worker="00ab", overlap_blocks=120, active_blocks=8, cost=16.5)],
        )
    ],
)


def test_kv_shows_both_hit_rates_workers_and_decisions(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.answer("GET /v1/graphs/llm/kv", SNAPSHOT)
    text = dynamoctl("kv", "llm", "--window", "1m").stdout
    assert text.startswith("llm: hit rate 87.5 % over the last 60s (10 requests)\n")
    for part in ("predicted  90.0 % of 1000 blocks", "actual     87.5 %", "llm-worker-1 ", "llm-worker-1.1 ", "16.5"):
        assert part in text
    assert "window=60.0" in local.asked[-1].target
    assert dynamoctl("kv", "llm", "--json").json()["predicted"]["ratio_of_sums"] == 0.9


def test_kv_watched_in_a_pipe_is_a_decision_a_line(dynamoctl: Dynamoctl, local: StandIn) -> None:
    chunks = [*sse("snapshot", SNAPSHOT), *sse("decision", SNAPSHOT.decisions[0])]
    local.routes["GET /v1/graphs/llm/kv/stream"] = once(chunks)  # type: ignore[assignment]
    lines = dynamoctl("kv", "llm", "-w").stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[2:] == ["r-1", "00ab", "128", "120", "120", "16.5"]


def test_gpus_show_three_ledgers_and_say_when_they_are_simulated(dynamoctl: Dynamoctl, local: StandIn) -> None:
    gpu = Gpu(
        uuid="GPU-1",
        index=0,
        name="H100",
        memory_total_bytes=80 * 2**30,
        memory_used_bytes=2**30,
        simulated=True,
        claimed=[GpuClaim(replica="llm-worker-1", graph="llm", share=GpuShare(uuid="GPU-1", index=0, share=0.5))],
        observed=[GpuProcess(pid=9, memory_bytes=1)],
        conditions=["foreign process"],
    )
    local.answer("GET /v1/gpus", [gpu])
    outcome = dynamoctl("gpus")
    assert outcome.stderr == "the GPUs are simulated\n"
    for part in ("H100 (simulated)", "0.5", "llm-worker-1", "9 (foreign)", "1.0 GiB / 80.0 GiB", "foreign process"):
        assert part in outcome.stdout
    local.answer("GET /v1/gpus", [])
    assert dynamoctl("gpus").stderr == "no GPUs on this machine\n"


def test_top_and_metrics(dynamoctl: Dynamoctl, local: StandIn) -> None:
    rates = [
        ServiceRates(service="Worker", requests_per_s=12.5, latency_p50_s=0.0042, hit_rate=0.875),
        ServiceRates(service="Worker", replica="llm-worker-1", rss_bytes=3 * 2**20),
    ]
    local.answer("GET /v1/graphs/llm/rates", rates)
    lines = dynamoctl("top", "llm").stdout.splitlines()
    assert "12.5" in lines[1]
    assert "4.2 ms" in lines[1]
    assert "87.5 %" in lines[1]
    assert "3.0 MiB" in lines[2]
    local.answer("GET /v1/graphs/llm/metrics/names", ["a", "b"])
    assert dynamoctl("metrics", "llm").stdout == "a\nb\n"
    series = Series(name="a", labels={"replica": "r"}, points=[(1.0, 2.0), (2.0, None), (3.0, 4.5)])
    local.answer("GET /v1/graphs/llm/metrics", [series])
    assert dynamoctl("metrics", "llm", "a").stdout.splitlines()[1].split() == [
        "replica=r",
        "4.500",
        "2",
        "4.500",
        "2",
        "-",
    ]
    local.answer("GET /v1/graphs/llm/prometheus", b"a 1\n")
    assert dynamoctl("metrics", "llm", "--prometheus").stdout == "a 1\n"
    local.answer("GET /metrics", b"daemon 1\n")
    assert dynamoctl("metrics").stdout == "daemon 1\n"


@pytest.mark.parametrize("arguments", [("logs", "hello", "-f", "--until", "5m"), ("logs", "hello", "--since", "soon")])
def test_what_has_no_meaning_is_refused(dynamoctl: Dynamoctl, local: StandIn, arguments: tuple[str, ...]) -> None:
    assert dynamoctl(*arguments).code == 2
