"""Examples for the OpenAPI document: hello world, as the API shows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dynamo.sdk.spec import DependencySpec, EndpointSpec, GraphSpec, HttpRoute, ServiceSpec
from dynamod.schema import (
    Action,
    Build,
    BuiltImage,
    BuiltService,
    ContainerizeRequest,
    DaemonInfo,
    DrainRequest,
    Edge,
    Event,
    FieldChange,
    Gpu,
    Graph,
    GraphChange,
    GraphState,
    GraphSubmit,
    HitRate,
    ImageStep,
    KvCandidate,
    KvDecision,
    KvSnapshot,
    KvWorker,
    LogGap,
    LogLine,
    OperationKind,
    Package,
    Plan,
    PlanOperation,
    PlanRequest,
    Problem,
    Pruned,
    PruneRequest,
    Reason,
    Replica,
    ReplicaState,
    RestartRequest,
    Revision,
    RollbackRequest,
    ScaleRequest,
    Series,
    ServiceRates,
    ServiceStatus,
    StopRequest,
    Why,
)

_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_T = _AT.timestamp()
_DIGEST = "5c7b8f0d6f3a2e1b9c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b"


def _spec() -> GraphSpec:
    return GraphSpec(
        name="hello-world",
        target="hello_world:Frontend",
        entry="Frontend",
        working_dir="/srv/hello_world",
        interpreter="/srv/hello_world/.venv/bin/python",
        services=(
            ServiceSpec(
                name="Frontend",
                target="hello_world:Frontend",
                endpoints=(EndpointSpec(name="generate", kind="stream", http=HttpRoute(path="/generate")),),
                dependencies=(DependencySpec(attribute="worker", service="Worker"),),
                http_port=8000,
            ),
            ServiceSpec(
                name="Worker",
                target="hello_world:Worker",
                endpoints=(EndpointSpec(name="generate", kind="stream"),),
                workers=2,
            ),
        ),
    )


def _submit() -> GraphSubmit:
    return GraphSubmit(spec=_spec(), name="hello-world", envs={"DYN_LOG": "info"})


def _graph() -> Graph:
    return Graph(
        id="g-7f3a",
        project="default",
        name="hello-world",
        driver="process",
        state=GraphState.READY,
        reason=Reason.ALL_READY,
        revision=1,
        digest=_DIGEST,
        entry="Frontend",
        services=[
            ServiceStatus(
                name="Frontend",
                component="Frontend",
                namespace="default",
                desired=1,
                ready=1,
                total=1,
                endpoints=["generate"],
                dependencies=[Edge(attribute="worker", service="Worker")],
                address="http://127.0.0.1:8000",
            ),
            ServiceStatus(
                name="Worker",
                component="Worker",
                namespace="default",
                desired=2,
                ready=2,
                total=2,
                endpoints=["generate"],
            ),
        ],
        address="http://127.0.0.1:8000",
        created_at=_AT,
        updated_at=_AT,
        etag="12",
    )


def _replica() -> Replica:
    return Replica(
        id="hello-world-worker-1-x7k2",
        project="default",
        graph="hello-world",
        service="Worker",
        index=1,
        revision=1,
        driver="process",
        state=ReplicaState.READY,
        reason=Reason.PROBE_SUCCEEDED,
        pid=4711,
        host="box",
        created_at=_AT,
        started_at=_AT,
        ready_at=_AT,
        updated_at=_AT,
    )


def _event() -> Event:
    return Event(
        seq=42,
        at=_AT,
        actor="user:1000",
        action=Action.SERVICE_SCALED,
        project="default",
        graph="hello-world",
        service="Worker",
        message="from 1 to 2 replicas",
    )


def _plan() -> Plan:
    return Plan(
        id="p-91c2",
        graph="hello-world",
        project="default",
        basis="12",
        changes=[FieldChange(path="services.Worker.workers", before=1, after=2)],
        operations=[
            PlanOperation(kind=OperationKind.CREATE, service="Worker", index=2, cause="1 replica more is wanted")
        ],
        strategy="scale",
    )


def _decision() -> KvDecision:
    return KvDecision(
        seq=9,
        t=_T,
        request_id="r-1",
        worker="00000000000000a1",
        mode="kv",
        prompt_blocks=32,
        overlap_blocks=28,
        best_overlap_blocks=28,
        candidates=[KvCandidate(worker="00000000000000a1", overlap_blocks=28, active_blocks=12, cost=16.0)],
    )


def _kv_snapshot() -> KvSnapshot:
    rate = HitRate(requests=1, blocks_asked=32, blocks_reused=28, ratio_of_sums=0.875, mean_of_ratios=0.875)
    return KvSnapshot(
        graph="hello-world",
        t=_T,
        window_s=60.0,
        seq=9,
        block_size=16,
        mode="kv",
        predicted=rate,
        actual=rate,
        workers=[KvWorker(worker="00000000000000a1", replica="llm-worker-1-ab12", predicted=rate, actual=rate)],
        decisions=[_decision()],
    )


def _revision() -> Revision:
    return Revision(number=1, digest=_DIGEST, created_at=_AT, cause="submitted by user:1000", active=True)


def _build() -> Build:
    return Build(
        tag="hello-world:1.0",
        name="hello-world",
        version="1.0",
        digest=_DIGEST,
        sha256=_DIGEST,
        size=482_113,
        created_at=_AT,
        stored_at=_AT,
        service="hello_world:Frontend",
        entry="Frontend",
        python_version="3.11",
        services=[BuiltService(name="Frontend", service="hello_world:Frontend", endpoints=["generate"])],
        packages=[Package(name="msgspec", version="0.20.0", hashes=[f"sha256:{_DIGEST}"])],
        files=3,
        source_bytes=4096,
        path=f"/home/me/.local/state/dynamod/builds/archives/{_DIGEST}/hello-world@1.0.tar.gz",
        used_by=["default/hello-world"],
    )


EXAMPLES: dict[Any, Callable[[], Any]] = {
    Build: _build,
    BuiltImage: lambda: BuiltImage(image="hello-world:1.0", id=f"sha256:{_DIGEST}", size=148_897_792),
    ContainerizeRequest: lambda: ContainerizeRequest(image="registry.example.com/team/hello:1.0", gpu=False),
    ImageStep: lambda: ImageStep(step="Step 7/18 : COPY src /srv/graph"),
    Pruned: lambda: Pruned(builds=["hello-world:0.9"], bytes=482_113),
    PruneRequest: lambda: PruneRequest(keep=3, older_than=30 * 86400.0),
    DaemonInfo: lambda: DaemonInfo(
        version="0.1.0", pid=4242, started_at=_AT, state_dir="/home/me/.local/state/dynamod"
    ),
    Event: _event,
    Gpu: lambda: Gpu(uuid="GPU-sim-0", index=0, name="H100", memory_total_bytes=80 << 30, simulated=True),
    Graph: _graph,
    GraphSubmit: _submit,
    KvDecision: _decision,
    KvSnapshot: _kv_snapshot,
    LogGap: lambda: LogGap(skipped=1204),
    LogLine: lambda: LogLine(t=_T, replica=_replica().id, service="Worker", line=7, level="info", text="INFO ready"),
    Plan: _plan,
    PlanRequest: lambda: PlanRequest(submit=_submit()),
    Problem: lambda: Problem(
        type="urn:dynamod:problem:not-found",
        title="Not found",
        status=404,
        detail="there is no graph 'helo-world'; there is hello-world",
        instance="/v1/graphs/helo-world",
    ),
    Replica: _replica,
    DrainRequest: lambda: DrainRequest(service="Worker"),
    GraphChange: lambda: GraphChange(graph="hello-world", action="scale", service="Worker", replicas=2),
    RestartRequest: lambda: RestartRequest(service="Worker"),
    Revision: _revision,
    RollbackRequest: lambda: RollbackRequest(to=1),
    ScaleRequest: lambda: ScaleRequest(replicas=2),
    Series: lambda: Series(name="process_resident_memory_bytes", unit="bytes", points=[(_T, 6.1e7)]),
    ServiceRates: lambda: ServiceRates(service="Worker", requests_per_s=12.5, latency_p50_s=0.004),
    StopRequest: lambda: StopRequest(timeout=10.0),
    Why: lambda: Why(replica=_replica(), summary="ready since 03:04:05: its probe succeeds", events=[]),
}
