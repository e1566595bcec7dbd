"""Plans of changes of the world's graphs, as a daemon would make them."""

from __future__ import annotations

from dynamod.schema import (
    FieldChange,
    GpuShare,
    GraphChange,
    OperationKind,
    Plan,
    PlanOperation,
    Problem,
    Replica,
    ReplicaState,
)
from dynamod.schema.graphs import Strategy
from tests.unit.dynamo_tui.tui import world

STALE = Problem(
    type="urn:dynamod:problem:stale-plan",
    title="Stale plan",
    status=409,
    detail="plan p1 was made from an earlier state of graph 'agg_router'",
    remedy="make a new plan and apply that",
)
PLACEMENT = ["GPU 4 of 4 free ones: on the NUMA node of GPUs 5 to 7", "GPU 6 is left out: process 991 holds 12 GiB"]
_STRATEGIES: dict[str, Strategy] = {"remove": "stop", "rollback": "surge", "settle": "none"}


def plan_of(change: GraphChange) -> Plan:
    """What the change does to the world's graph."""
    mine = [
        r
        for r in world.REPLICAS
        if r.graph == change.graph and change.service in (None, r.service) and change.replica in (None, r.id)
    ]
    operations: list[PlanOperation] = []
    changes: list[FieldChange] = []
    notes: list[str] = []
    match change.action:
        case "scale":
            wanted = change.replicas or 0
            changes = [FieldChange(path=f"services.{change.service}.replicas", before=len(mine), after=wanted)]
            cause = f"{wanted} wanted, {len(mine)} there"
            operations = [_start(change.service or "", n, cause) for n in range(len(mine) + 1, wanted + 1)]
            operations += [_stop(r, cause) for r in mine[wanted:]]
            if wanted == 0:
                notes.append(f"nothing will answer for {change.service}")
            if wanted == len(mine):
                changes = []
        case "restart" | "drain":
            cause = f"a {change.action} was asked for"
            again = "its restart is due" if change.action == "restart" else "in place of one that drains"
            operations = [_stop(r, cause) for r in mine] + [_start(r.service, r.index, again, r.gpus) for r in mine]
            services = {r.service for r in mine}
            others = {r.service for r in world.REPLICAS if r.graph == change.graph and r not in mine}
            notes = [
                f"{name} does not answer from now until the first of its replicas is ready again"
                for name in sorted(services - others)
            ]
        case "stop" | "remove":
            cause = "the graph is stopped" if change.action == "stop" else "the graph is removed"
            operations = [_stop(r, cause, wave) for wave, r in enumerate(mine)]
            notes = ["nothing answers until it is started again; its revisions and its logs stay"]
        case "start":
            operations = [_start(r.service, r.index, "wanted, and everything it needs is there") for r in mine]
        case "rollback":
            changes = [FieldChange(path="config.VllmWorker.block-size", before=16, after=64)]
            old = [r for r in mine if r.service == "VllmWorker"][:1]
            operations = [
                _start("VllmWorker", 5, "to replace an older one by revision 4"),
                *(_stop(r, "replaced by revision 4") for r in old),
            ]
            notes = ["revision 2 comes back as revision 4"]
    if change.graph == "hello_world" and change.action == "settle":
        waiting = next(r for r in mine if r.state is ReplicaState.PENDING)
        operations = [
            PlanOperation(
                kind=OperationKind.WAIT,
                service=waiting.service,
                replica=waiting.id,
                index=waiting.index,
                cause="exited with code 1; restart 4 of 10 in 9.0 s",
            )
        ]
    return Plan(
        id="p1",
        graph=change.graph,
        project=change.project,
        basis="b1",
        changes=changes,
        operations=operations,
        notes=notes,
        strategy=_STRATEGIES.get(change.action, change.action),  # type: ignore[arg-type]
    )


def _start(service: str, index: int, cause: str, gpus: list[GpuShare] | None = None) -> PlanOperation:
    if gpus is None:
        gpus = world.gpus_of(index - 1) if service == "VllmWorker" else []
    return PlanOperation(
        kind=OperationKind.START,
        service=service,
        index=index,
        cause=cause,
        gpus=gpus,
        wave=1,
        placement=PLACEMENT if gpus else [],
    )


def _stop(replica: Replica, cause: str, wave: int = 0) -> PlanOperation:
    return PlanOperation(
        kind=OperationKind.STOP,
        service=replica.service,
        replica=replica.id,
        index=replica.index,
        cause=cause,
        gpus=replica.gpus,
        wave=wave,
        drain_timeout=30.0,
    )
