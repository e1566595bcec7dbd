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
    LogLine,
    OperationKind,
    Plan,
    PlanOperation,
    Reason,
    Replica,
    ReplicaState,
    Revision,
    Series,
    ServiceRates,
    ServiceStatus,
    Why,
)
from dynamod.schema.builds import Build, BuiltService, Package

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


PLAN = Plan(
    id="p1",
    graph="tiny",
    project="default",
    basis="b1",
    changes=[],
    operations=[PlanOperation(kind=OperationKind.CREATE, service="Only", index=1, cause="there is no graph tiny")],
    strategy="create",
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


def past_metrics(replica: Replica | None = None) -> dict[str, list[Series]]:
    """The last ten minutes of the router graph's Frontend, or of one replica, as the daemon retains them."""
    owner = {"service": replica.service, "replica": replica.id} if replica else {"service": "Frontend"}
    times = [NOW - 600 + 5 * n for n in range(120)]

    def series(name: str, scale: float, **labels: str) -> Series:
        points: list[tuple[float, float | None]] = [(t, scale * (2 + math.sin(t / 60))) for t in times]
        return Series(name=name, labels={**owner, **labels}, points=points)

    return {
        "dynamo_http_requests_total": [
            series("dynamo_http_requests_total", 5.0, status="200"),
            series("dynamo_http_requests_total", 0.1, status="500"),
        ],
        "dynamo_http_duration_seconds": [
            series("dynamo_http_duration_seconds", 0.01 * (1 + float(q)), quantile=q) for q in ("0.5", "0.95", "0.99")
        ],
        "dynamo_endpoint_queue_depth": [series("dynamo_endpoint_queue_depth", 1.0, endpoint="generate")],
        "process_cpu_seconds_total": [series("process_cpu_seconds_total", 0.1)],
        "process_resident_memory_bytes": [series("process_resident_memory_bytes", 100e6)],
        "of_no_page": [series("of_no_page", 1.0)],
    }


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


def builds() -> list[Build]:
    """One that a graph runs from, and an older one that none does."""

    def build(version: str, ago: float, used_by: list[str]) -> Build:
        return Build(
            tag=f"agg_router:{version}",
            name="agg_router",
            version=version,
            digest="6f1e" * 16,
            sha256="0a9c" * 16,
            size=41_300,
            created_at=at(ago + 60),
            stored_at=at(ago),
            service="Frontend",
            entry="graphs.agg_router:Frontend",
            graph="agg_router",
            python_version="3.11.9",
            sdk_version="1.0.0",
            labels={"team": "serving"},
            services=[
                BuiltService(name="Frontend", service="Frontend", endpoints=["chat"], dependencies=["Processor"]),
                BuiltService(name="VllmWorker", service="VllmWorker", workers=4, resources={"gpu": 1}),
            ],
            packages=[Package(name="msgspec", version="0.19.0"), Package(name="uvicorn", version="0.34.0")],
            files=23,
            source_bytes=96_000,
            path="/var/lib/dynamod/builds/agg_router.tar.gz",
            used_by=used_by,
        )

    return [build("2", 3_600.0, ["default/agg_router"]), build("1", 90_000.0, [])]


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
