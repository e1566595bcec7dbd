"""The dry run: the planner's steps played out on paper, every start succeeding, until nothing is left to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace as with_fields

from msgspec.structs import replace

from dynamod.core import transitions
from dynamod.core.allocation import Claimed
from dynamod.core.planner import plan
from dynamod.core.records import Goal, ReplicaRecord, Then
from dynamod.core.steps import Step, World
from dynamod.schema.graphs import PlanOperation, Strategy
from dynamod.schema.states import OperationKind, Reason, ReplicaState

_ROUNDS = 10_000


def preview(world: World, now: float, first: Sequence[Step] = ()) -> tuple[list[PlanOperation], Strategy, list[str]]:
    """All operations in order, `wave` counting the rounds; the strategy; and notes on what it costs.

    `first` are steps that do not follow from what is wanted, but from a request: they come before all others.
    """
    operations: list[PlanOperation] = []
    surge, replaced = True, False
    fresh = not world.replicas
    causes: dict[str, str] = {}
    draining = []
    for step in first:
        operations.append(_operation(world, step, 0, now))
        if step.doom is not None and step.doom.then is Then.REMOVE:
            # It goes on for a while: what takes its place starts beside it where there is room, else after it.
            world = _dooms(world, step, now)
            draining.append(step)
        else:
            world = _played(world, step, now)
    for wave in range(len(operations) > 0, _ROUNDS):
        result = plan(world, now)
        surge = surge and result.surge
        steps = [step for step in result.steps if step.kind is not OperationKind.WAIT]
        if not steps and draining:
            for step in draining:
                world = _played(world, step, now)
            draining = []
            continue
        if not steps:
            operations += [_operation(world, step, wave, now) for step in result.steps]
            break
        for step in steps:
            if step.kind is OperationKind.CREATE:  # is told by its start, which has the cause of both
                causes[_new_id(world, step)] = step.cause
            elif step.kind in (OperationKind.START, OperationKind.STOP):
                told = with_fields(step, cause=causes.get(step.replica or "", step.cause))
                operations.append(_operation(world, told, wave, now))
            replaced = replaced or (step.doom is not None and step.kind is OperationKind.STOP and not _scales(step))
            world = _played(world, step, now)
    notes = []
    if replaced and not surge:
        notes.append("stop-then-start: a service has one replica fewer while each of its replicas is replaced")
    if not operations:
        return operations, "none", notes
    strategy: Strategy = "create" if fresh else "scale"
    if replaced and world.graph.goal is Goal.RUN:
        strategy = "surge" if surge else "stop_then_start"
    return operations, strategy, notes


def _scales(step: Step) -> bool:
    return step.reason is Reason.SCALED_DOWN


_NEW = re.compile(r"new:(?P<service>[^:\s]+):(?P<index>\d+):\d+:\d+")


def _readable(text: str) -> str:
    """Replicas that exist on paper alone are named as the operations name them."""
    return _NEW.sub(r"\g<service> #\g<index>", text)


def _operation(world: World, step: Step, wave: int, now: float) -> PlanOperation:
    held = next((r for r in world.replicas if r.id == step.replica), None)
    index = held.index if step.index is None and held is not None else step.index
    known = step.replica if step.replica and not step.replica.startswith("new:") else None
    gives_back = held.gpus if held is not None and step.kind is OperationKind.STOP else ()
    return PlanOperation(
        kind=step.kind,
        service=step.service,
        replica=known,
        index=index,
        cause=_readable(step.cause),
        gpus=list(step.gpus or gives_back),
        wave=wave,
        placement=[_readable(line) for line in step.placement],
        drain_timeout=round(step.doom.deadline - now, 3) if step.doom is not None else None,
    )


def _dooms(world: World, step: Step, now: float) -> World:
    """The world while the step's replica comes to its end."""
    doomed = [
        transitions.doomed(r, step.doom, now) if r.id == step.replica and step.doom is not None else r
        for r in world.replicas
    ]
    return with_fields(world, replicas=doomed)


def _new_id(world: World, step: Step) -> str:
    """What a replica that is only planned goes by."""
    return f"new:{step.service}:{step.index}:{world.graph.revision}:{len(world.replicas)}"


def _played(world: World, step: Step, now: float) -> World:
    """The world after a step that went well."""
    graph = world.graph
    if step.kind is OperationKind.CREATE and step.index is not None:
        record = ReplicaRecord(
            id=_new_id(world, step),
            graph_id=graph.id,
            project=graph.project,
            graph=graph.name,
            service=step.service,
            index=step.index,
            revision=graph.revision,
            driver=graph.driver,
            created_at=now,
            updated_at=now,
        )
        return with_fields(world, replicas=[*world.replicas, record])
    replicas = []
    claims = list(world.claims)
    for replica in world.replicas:
        if replica.id != step.replica:
            replicas.append(replica)
        elif step.kind is OperationKind.START:
            replicas.append(replace(replica, state=ReplicaState.READY, next_retry_at=None, run=1, started_at=now))
            claims = [claim for claim in claims if claim.holder != replica.id]
            claims += [
                Claimed(share.uuid, share.share, slot, replica.id)
                for share, slot in zip(step.gpus, step.slots, strict=True)
            ]
        else:
            claims = [claim for claim in claims if claim.holder != replica.id]
            if step.doom is not None and step.doom.then is Then.KEEP:
                replicas.append(replace(replica, state=ReplicaState.EXITED, doom=None))
            elif step.doom is not None and step.doom.then is not Then.REMOVE:
                replicas.append(replace(replica, state=ReplicaState.PENDING, doom=None))
    return with_fields(world, replicas=replicas, claims=claims)
