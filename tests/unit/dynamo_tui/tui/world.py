"""A small world to look at: the aggregated KV-routing example in mid-flight, and one graph in trouble."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamod.schema import (
    Action,
    DaemonInfo,
    Edge,
    Event,
    ExitInfo,
    Gpu,
    GpuClaim,
    GpuProcess,
    GpuShare,
    Graph,
    GraphState,
    HitRate,
    KvCandidate,
    KvDecision,
    KvPrefix,
    KvSnapshot,
    KvWorker,
    LogLine,
    Reason,
    Replica,
    ReplicaState,
    Revision,
    Series,
    ServiceRates,
    ServiceStatus,
    Why,
)

NOW = 1_790_000_000.0
"""The world's clock where it has to stand still."""


def at(seconds_ago: float) -> datetime:
    return datetime.fromtimestamp(NOW, UTC) - timedelta(seconds=seconds_ago)


INFO = DaemonInfo(
    version="0.1.0", pid=4242, started_at=at(90_000), state_dir="/state", last_seq=100, gpus_simulated=True
)


def service(name: str, replicas: int, *depends: str, gpu: float = 0.0, ready: int | None = None) -> ServiceStatus:
    return ServiceStatus(
        name=name,
        component=name,
        namespace="dynamo",
        desired=replicas,
        ready=replicas if ready is None else ready,
        total=replicas,
        endpoints=["generate"],
        dependencies=[Edge(attribute=d.lower(), service=d) for d in depends],
        gpu=gpu,
    )


ROUTER_GRAPH = Graph(
    id="g1",
    project="default",
    name="agg_router",
    driver="process",
    state=GraphState.READY,
    reason=Reason.ALL_READY,
    revision=3,
    digest="9f2c",
    entry="Frontend",
    services=[
        service("Frontend", 1, "Processor"),
        service("Processor", 1, "Router", "VllmWorker"),
        service("Router", 1, "VllmWorker"),
        service("VllmWorker", 4, gpu=1.0),
    ],
    address="http://127.0.0.1:8000",
    created_at=at(7_500),
    updated_at=at(60),
    etag="e1",
)
HELLO_GRAPH = Graph(
    id="g2",
    project="default",
    name="hello_world",
    driver="process",
    state=GraphState.DEGRADED,
    reason=Reason.REPLICAS_UNREADY,
    message="Backend 0/1",
    revision=1,
    digest="11aa",
    entry="Frontend",
    services=[service("Frontend", 1, "Middle"), service("Middle", 1, "Backend"), service("Backend", 1, ready=0)],
    address="http://127.0.0.1:8001",
    created_at=at(400),
    updated_at=at(3),
    etag="e2",
)


def replica(graph: Graph, name: str, index: int, **changes: object) -> Replica:
    base = {
        "id": f"{graph.name}-{name.lower()}-{index}",
        "project": graph.project,
        "graph": graph.name,
        "service": name,
        "index": index,
        "revision": graph.revision,
        "driver": graph.driver,
        "state": ReplicaState.READY,
        "reason": Reason.PROBE_SUCCEEDED,
        "pid": 5_000 + index + 10 * len(name),
        "host": "box",
        "created_at": graph.created_at,
        "started_at": at(7_000),
        "ready_at": at(6_990),
        "updated_at": at(60),
    }
    return Replica(**{**base, **changes})  # type: ignore[arg-type]


def gpus_of(index: int) -> list[GpuShare]:
    return [GpuShare(uuid=f"GPU-{index}", index=index)]


REPLICAS = [
    replica(ROUTER_GRAPH, "Frontend", 1, address="http://127.0.0.1:8000"),
    replica(ROUTER_GRAPH, "Processor", 1),
    replica(ROUTER_GRAPH, "Router", 1),
    *(replica(ROUTER_GRAPH, "VllmWorker", i, gpus=gpus_of(i - 1)) for i in (1, 2, 3, 4)),
    replica(HELLO_GRAPH, "Frontend", 1, started_at=at(380)),
    replica(HELLO_GRAPH, "Middle", 1, started_at=at(380)),
    replica(
        HELLO_GRAPH,
        "Backend",
        1,
        state=ReplicaState.PENDING,
        reason=Reason.BACKING_OFF,
        message="exited with code 1",
        restarts=4,
        pid=None,
        started_at=None,
        next_retry_at=at(-9),
        last_exit=ExitInfo(code=1, at=at(3), reason=Reason.EXITED_WITH_ERROR),
    ),
]
WORKERS = [f"{0xA0 + i:016x}" for i in range(4)]


def rates(graph: Graph, phase: float = 0.0) -> list[ServiceRates]:
    """What the services do; the figures move with `phase`."""
    out = []
    for status in graph.services:
        swing = 1 + 0.2 * math.sin(phase / 3 + len(status.name))
        worker = status.name == "VllmWorker"
        base = ServiceRates(
            service=status.name,
            requests_per_s=12.4 * swing,
            errors_per_s=0.0,
            in_flight=3.0,
            queue_depth=2.0 if worker else 0.0,
            latency_p50_s=0.021 * swing,
            latency_p95_s=0.038 * swing,
            ttft_p95_s=0.0093 if worker else None,
            hit_rate=0.84 if status.name in ("Router", "VllmWorker") else None,
            cpu_cores=0.07 * swing,
            rss_bytes=212e6,
        )
        out.append(base)
        for i in range(1, status.desired + 1):
            share = 1 / status.desired
            out.append(
                ServiceRates(
                    service=status.name,
                    replica=f"{graph.name}-{status.name.lower()}-{i}",
                    requests_per_s=12.4 * swing * share,
                    in_flight=3.0 * share,
                    latency_p95_s=0.038 * swing,
                    cpu_cores=0.07 * swing * share,
                    rss_bytes=212e6 * (1 + i / 10),
                )
            )
    return out


def hit_ratio(t: float, worker: int | None = None) -> float:
    """A hit rate that warms up and then breathes."""
    age = t - (NOW - 500)
    warm = 1 - math.exp(-max(age, 0) / 120)
    return max(0.0, min(1.0, 0.86 * warm + 0.05 * math.sin(t / 17 + (worker or 0) * 1.7) - 0.03 * (worker or 0)))


def decision(seq: int, t: float) -> KvDecision:
    chosen = seq % 4
    prompt, overlap = 128, 104 - 8 * (seq % 5)
    candidates = [
        KvCandidate(
            worker=WORKERS[i],
            overlap_blocks=overlap if i == chosen else max(0, overlap - 30 - 10 * i),
            active_blocks=400 + 100 * i,
            cost=0.31 + 0.4 * abs(i - chosen),
        )
        for i in range(4)
    ]
    return KvDecision(
        seq=seq,
        t=t,
        request_id=f"r{seq}",
        worker=WORKERS[chosen],
        mode="kv",
        prompt_blocks=prompt,
        overlap_blocks=overlap,
        best_overlap_blocks=overlap + (6 if seq % 7 == 0 else 0),
        candidates=candidates,
        actual_cached_blocks=overlap - 1,
    )


def kv_snapshot(t: float = NOW, seq: int = 40) -> KvSnapshot:
    def rate(ratio: float, requests: int) -> HitRate:
        asked = requests * 128
        reused = round(asked * ratio)
        return HitRate(
            requests=requests,
            blocks_asked=asked,
            blocks_reused=reused,
            ratio_of_sums=reused / asked,
            mean_of_ratios=ratio - 0.01,
        )

    workers = [
        KvWorker(
            worker=w,
            replica=f"agg_router-vllmworker-{i + 1}",
            active_requests=3 - i % 3,
            waiting_requests=1 if i == 2 else 0,
            active_blocks=412 + 160 * i,
            cached_blocks=3_000 + 250 * i,
            total_blocks=4_096,
            cache_usage=(3_000 + 250 * i) / 4_096,
            predicted=rate(hit_ratio(t, i), 180 + i),
            actual=rate(hit_ratio(t, i) - 0.01, 180 + i),
        )
        for i, w in enumerate(WORKERS)
    ]
    return KvSnapshot(
        graph="agg_router",
        t=t,
        window_s=60,
        seq=seq,
        block_size=16,
        mode="kv",
        predicted=rate(hit_ratio(t), 742),
        actual=rate(hit_ratio(t) - 0.012, 742),
        avoidable_blocks=310,
        avoidable_share=0.0033,
        workers=workers,
        decisions=[decision(n, t - (seq - n) * 0.7) for n in range(max(0, seq - 20), seq + 1)],
        prefixes=[KvPrefix(prefix=f"{h:012x}", blocks=b, requests=n, workers=WORKERS[:k]) for h, b, n, k in HOT],
    )


HOT = [(0x9C12AA31F0, 96, 211, 2), (0x1B77D2E410, 80, 154, 1), (0x44C0FFEE12, 64, 97, 3)]


def kv_series(worker: str | None = None) -> list[Series]:
    times = [NOW - 600 + 5 * i for i in range(120)]
    out = []
    for name, less in (("hit_rate_predicted", 0.0), ("hit_rate_actual", 0.012)):
        index = WORKERS.index(worker) if worker else None
        points = [(t, hit_ratio(t, index) - less if t > NOW - 500 else None) for t in times]
        out.append(Series(name=name, labels={"worker": worker} if worker else {}, points=points))
    return out


def log_line(number: int, t: float, graph: str = "agg_router", index: int | None = None) -> LogLine:
    worker = (number % 4) + 1 if index is None else index
    level, text = (
        ("error", "engine step failed: block table exhausted, request r17 preempted")
        if number % 97 == 96
        else ("warning", f"cache pressure: {60 + number % 40} % of blocks in use")
        if number % 23 == 22
        else ("info", f"request r{number} finished: prompt 2048 tokens, 64 out, 1984 from cache, 412 ms")
    )
    return LogLine(
        t=t, replica=f"{graph}-vllmworker-{worker}", service="VllmWorker", line=number, level=level, text=text
    )


def events() -> list[Event]:
    def event(seq: int, ago: float, action: Action, message: str, **more: object) -> Event:
        return Event(
            seq=seq, at=at(ago), action=action, message=message, **{"actor": "engine", "project": "default", **more}
        )  # type: ignore[arg-type]

    return [
        event(91, 7_500, Action.GRAPH_CREATED, "created", actor="user:1000", graph="agg_router"),
        event(
            92,
            6_990,
            Action.REPLICA_STATE,
            "ready",
            graph="agg_router",
            service="VllmWorker",
            replica="agg_router-vllmworker-1",
            reason=Reason.PROBE_SUCCEEDED,
        ),
        event(
            93,
            900,
            Action.SERVICE_SCALED,
            "VllmWorker 2 -> 4",
            actor="user:1000",
            graph="agg_router",
            service="VllmWorker",
            reason=Reason.SCALED_UP,
        ),
        event(97, 400, Action.GRAPH_CREATED, "created", actor="token:ci", graph="hello_world"),
        event(
            98,
            14,
            Action.REPLICA_STATE,
            "exited with code 1",
            graph="hello_world",
            service="Backend",
            replica="hello_world-backend-1",
            reason=Reason.EXITED_WITH_ERROR,
        ),
        event(
            99,
            3,
            Action.REPLICA_STATE,
            "retry in 12 s",
            graph="hello_world",
            service="Backend",
            replica="hello_world-backend-1",
            reason=Reason.BACKING_OFF,
        ),
        event(100, 3, Action.GRAPH_STATE, "Backend 0/1", graph="hello_world", reason=Reason.REPLICAS_UNREADY),
    ]


def gpus() -> list[Gpu]:
    out = []
    for i in range(8):
        owner = f"agg_router-vllmworker-{i + 1}" if i < 4 else None
        claimed = (
            [GpuClaim(replica=owner, graph="agg_router", share=GpuShare(uuid=f"GPU-{i}", index=i))] if owner else []
        )
        observed = [GpuProcess(pid=6_000 + i, memory_bytes=61 << 30, replica=owner)] if owner else []
        if i == 6:
            observed = [GpuProcess(pid=991, memory_bytes=12 << 30)]
        out.append(
            Gpu(
                uuid=f"GPU-{i}",
                index=i,
                name="H100-80GB",
                memory_total_bytes=80 << 30,
                memory_used_bytes=sum(p.memory_bytes for p in observed) if i != 7 else 9 << 30,
                utilisation=0.71 if owner else 0.0,
                temperature_c=54.0 + i,
                power_w=388.0 if owner else 71.0,
                numa_node=i // 4,
                simulated=True,
                claimed=claimed,
                granted=[owner] if owner else [],
                observed=observed,
                conditions=["memory still held after its owner ended"] if i == 7 else [],
            )
        )
    return out


def why(one: Replica) -> Why:
    return Why(
        replica=one,
        summary=f"{one.service} {one.index} is {one.state}: {one.reason}",
        placement=["GPU 0: free, chosen (NVLink neighbour of 1)", "GPU 6: rejected, foreign process 991"],
        waiting_for=["the next retry, in 9 s"] if one.next_retry_at else [],
        probe="sdk: no answer yet" if one.state is ReplicaState.PENDING else "sdk: ready",
        events=[],
        log_tail=["Traceback (most recent call last):", "RuntimeError: no route to the model store"],
    )


def revisions() -> list[Revision]:
    return [
        Revision(number=n, digest=f"d{n}", created_at=at(7_500 - n * 900), cause=f"submit {n}", active=n == 3)
        for n in (1, 2, 3)
    ]


def revision(number: int) -> Revision:
    """A revision with its spec; one variable of its environment is a secret."""
    services = tuple(
        ServiceSpec(name=name, target=f"graph:{name}", envs={"HF_TOKEN": "hf_very_secret", "LOG": name.lower()})
        for name in ("Frontend", "Middle", "Backend", "Processor", "Router", "VllmWorker")
    )
    spec = GraphSpec(name="graph", target="graph:Frontend", entry="Frontend", services=services, envs={"REGION": "eu"})
    return Revision(number=number, digest="d", created_at=at(900), cause="submit", active=True, spec=spec)
