"""A graph's own state, derived from its replicas."""

from __future__ import annotations

from collections.abc import Sequence

from dynamod.core.records import Goal, GraphRecord, ReplicaRecord
from dynamod.core.restarts import OBSTACLES
from dynamod.core.steps import is_leaving
from dynamod.schema.states import GraphState, Reason, ReplicaState


def summarise(
    graph: GraphRecord, replicas: Sequence[ReplicaRecord], wanted: int, settled: bool
) -> tuple[GraphState, Reason, str]:
    """State, reason and message. `wanted` is the number of replicas over all services; `settled` is the planner's."""
    if graph.goal is not Goal.RUN:
        reason = Reason.STOP_REQUESTED if graph.goal is Goal.STOP else Reason.REMOVE_REQUESTED
        busy = sum(r.state.holds_process for r in replicas)
        if busy or any(r.state is not ReplicaState.EXITED for r in replicas):
            return GraphState.STOPPING, reason, f"{busy} of {len(replicas)} replicas still run"
        return GraphState.STOPPED, reason, ""
    live = [r for r in replicas if not is_leaving(r)]
    failed = [r for r in live if r.state is ReplicaState.FAILED]
    ready = sum(r.state is ReplicaState.READY for r in live)
    if settled:
        return GraphState.READY, Reason.ALL_READY, ""
    rolling = graph.stable != graph.revision
    if failed and (not rolling or not graph.stable):
        first = failed[0]
        return GraphState.FAILED, first.reason, f"{first.id}: {first.message}"
    waiting = next((r for r in live if r.state is not ReplicaState.READY), None)
    message = f"{ready} of {wanted} replicas are ready"
    obstructed = next((r for r in live if r.reason in OBSTACLES), None)
    if obstructed is not None:
        message = f"{message}; {obstructed.id}: {obstructed.message}"
    if (
        rolling
        or graph.underway is not None
        or any(r.state in (ReplicaState.PENDING, ReplicaState.STARTING) and r.run <= 1 for r in live)
    ):
        reason = waiting.reason if waiting is not None and waiting.reason in _WAITING else Reason.REPLICAS_UNREADY
        return GraphState.DEPLOYING, obstructed.reason if obstructed is not None else reason, message
    return GraphState.DEGRADED, obstructed.reason if obstructed is not None else Reason.REPLICAS_UNREADY, message


_WAITING = (
    Reason.WAITING_FOR_DEPENDENCY,
    Reason.WAITING_FOR_GPU,
    Reason.WAITING_FOR_INVENTORY,
    Reason.BACKING_OFF,
    Reason.STARTING_UP,
)
