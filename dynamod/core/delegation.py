"""Graphs that something else schedules and restarts: what is seen of them, as records. Pure functions.

The backend decides; records say what it did. There is no budget, no doom of ours and no fall-back here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from dynamod.core.records import Doom, Goal, GraphRecord, ReplicaRecord, Then
from dynamod.core.steps import is_leaving
from dynamod.schema.graphs import Replica
from dynamod.schema.states import GraphState, Reason, ReplicaState

_WORKS = (ReplicaState.READY, ReplicaState.STARTING, ReplicaState.STOPPING)


@dataclass(frozen=True)
class Trouble:
    """What keeps us from telling or seeing the backend. `needs_change`: waiting alone will not help."""

    reason: Reason
    words: str
    needs_change: bool


def records_of(
    graph: GraphRecord, known: Sequence[ReplicaRecord], seen: Sequence[Replica], leaving: Set[str], now: float
) -> list[ReplicaRecord]:
    """The records of what is seen now. A replica keeps its number; a new one gets the lowest that is free.

    `leaving` are those that the backend ends, or will not start again.
    """
    before = {record.id: record for record in known}
    here = {replica.id for replica in seen}
    taken: dict[str, set[int]] = {}
    for replica in seen:
        number = replica.index or (before[replica.id].index if replica.id in before else 0)
        if number:
            taken.setdefault(replica.service, set()).add(number)
    records = []
    for replica in seen:
        last = before.get(replica.id)
        number = replica.index or (last.index if last is not None else 0)
        if not number:
            used = taken.setdefault(replica.service, set())
            number = next(n for n in range(1, len(here) + len(used) + 2) if n not in used)
            used.add(number)
        doom = _doom(last, replica, now) if replica.id in leaving else None
        records.append(_record(graph, last, replica, number, doom, now))
    return records


def _record(
    graph: GraphRecord, last: ReplicaRecord | None, seen: Replica, index: int, doom: Doom | None, now: float
) -> ReplicaRecord:
    ended = seen.last_exit.at if seen.last_exit is not None else None
    record = ReplicaRecord(
        id=seen.id,
        graph_id=graph.id,
        project=graph.project,
        graph=graph.name,
        service=seen.service,
        index=index,
        revision=last.revision if last is not None else graph.revision,
        driver=graph.driver,
        state=seen.state,
        reason=seen.reason,
        message=seen.message,
        progress=seen.progress,
        run=seen.restarts + 1,
        container=seen.container,
        host=seen.host,
        address=seen.address,
        placement=(f"the cluster's scheduler chose the node {seen.host}",) if seen.host else (),
        failures=_failures(last, seen.restarts, now if ended is None else ended.timestamp()),
        doom=doom,
        last_exit=seen.last_exit or (last.last_exit if last is not None else None),
        created_at=seen.created_at.timestamp(),
        started_at=_seconds(seen.started_at),
        ready_at=_seconds(seen.ready_at) or (last.ready_at if last is not None else None),
        updated_at=now,
    )
    if last is not None and replace(record, updated_at=last.updated_at) == last:
        return last
    return record


def _failures(last: ReplicaRecord | None, restarts: int, at: float) -> tuple[float, ...]:
    """A time for each restart; of those that nobody watched, that of the last one."""
    told = last.failures if last is not None else ()
    return told[:restarts] + (at,) * (restarts - len(told))


def _doom(last: ReplicaRecord | None, seen: Replica, now: float) -> Doom:
    if last is not None and last.doom is not None:
        return last.doom
    return Doom(seen.reason, Then.REMOVE, now, seen.message)


def summarise_delegated(
    graph: GraphRecord,
    replicas: Sequence[ReplicaRecord],
    wanted: int,
    *,
    settled: bool,
    overdue: bool,
    trouble: Trouble | None,
) -> tuple[GraphState, Reason, str]:
    """State, reason and message of a graph. With `trouble`, the replicas are as they were seen last."""
    live = [r for r in replicas if not is_leaving(r)]
    worked = graph.stable == graph.revision
    if trouble is not None:
        state = GraphState.DEGRADED if worked and live else GraphState.DEPLOYING
        if graph.goal is not Goal.RUN:
            state = GraphState.STOPPING
        return (GraphState.FAILED if trouble.needs_change else state), trouble.reason, trouble.words
    if graph.goal is not Goal.RUN:
        reason = Reason.STOP_REQUESTED if graph.goal is Goal.STOP else Reason.REMOVE_REQUESTED
        busy = sum(r.state.holds_process for r in replicas)
        if settled and not busy and graph.goal is Goal.STOP:
            return GraphState.STOPPED, reason, ""
        return GraphState.STOPPING, reason, f"{busy} of {len(replicas)} replicas still run"
    if settled:
        return GraphState.READY, Reason.ALL_READY, ""
    ready = sum(r.state is ReplicaState.READY for r in live)
    message = f"{ready} of {wanted} replicas are ready"
    blocking = _blocking(live)
    if blocking is not None:
        message = f"{message}; {blocking.id}: {blocking.message or blocking.reason.replace('_', ' ')}"
    reason = blocking.reason if blocking is not None else Reason.REPLICAS_UNREADY
    if overdue and blocking is not None:
        return GraphState.FAILED, reason, message
    return (GraphState.DEGRADED if worked else GraphState.DEPLOYING), reason, message


def _blocking(live: Iterable[ReplicaRecord]) -> ReplicaRecord | None:
    """The replica that says most about what is in the way."""
    return next((r for r in live if r.state not in _WORKS), None)


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None
