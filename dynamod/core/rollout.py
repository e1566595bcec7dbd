"""How many replicas a service should have and of which revision: creation, scaling, and one-by-one replacement.

A restart of a service is a replacement by the same: one replica at a time, beside the old one where there is room.
"""

from __future__ import annotations

from collections.abc import Sequence

from dynamo.sdk.spec import ServiceSpec
from dynamod.core.allocation import Refused, allocate
from dynamod.core.records import ReplicaRecord, Then
from dynamod.core.steps import Step, Steps, World, is_current, is_leaving, runs_what_is_wanted, stop_step
from dynamod.schema.states import OperationKind, Reason, ReplicaState

ROLLOUT_FAILURES = 3
"""A new revision whose replica failed this often without ever being ready is rolled back."""


def replicas_of_service(
    world: World, service: ServiceSpec, wave: int, stage_open: bool, now: float, result: Steps
) -> bool:
    """Add the steps that bring the number and revision of replicas nearer to what is wanted.

    Outdated replicas are replaced one at a time, and only once everything this service depends on is settled
    (`stage_open`). Returns whether this service is settled: all there, current and ready.
    """
    want = world.graph.wanted(service)
    mine = sorted((r for r in world.replicas if r.service == service.name), key=lambda r: r.index)
    live = [r for r in mine if not is_leaving(r)]
    current = [r for r in live if is_current(world, r)]
    outdated = [r for r in live if r not in current]
    waiting = [r for r in current if r.state is not ReplicaState.READY]
    if _can_fall_back(world) and not result.give_up:
        result.give_up = _failure(world, waiting)
    missing = want - len(live)
    if missing > 0:
        cause = f"{want} wanted, {len(live)} there" if world.graph.stable else "the graph is new"
        reason = Reason.SCALED_UP if world.graph.stable else Reason.SUBMITTED
        if any(r.doom is not None and r.doom.reason is Reason.RESTART_REQUESTED for r in mine):
            cause, reason = "in place of one that is restarted", Reason.RESTART_REQUESTED
        elif any(r.doom is not None and r.doom.reason is Reason.ROLLING_UPDATE for r in mine):
            cause, reason = f"in place of one that revision {world.graph.revision} replaces", Reason.ROLLING_UPDATE
        elif any(r.doom is not None and r.doom.reason is Reason.DRAINING for r in mine):
            cause, reason = "in place of one that drains", Reason.SCHEDULED
        _create(service, wave, missing, cause, reason, mine, result)
    elif outdated and stage_open:
        _replace(world, service, wave, want, live, outdated, waiting, now, result)
    elif not outdated and missing < 0:
        for replica in _least_useful(current)[:-missing]:
            cause = f"{want} wanted, {len(live)} there"
            step = stop_step(
                replica, service, reason=Reason.SCALED_DOWN, cause=cause, then=Then.REMOVE, now=now, wave=wave
            )
            result.steps.append(step)
    return len(live) == want == len(current) and not waiting and len(mine) == len(live)


def surge_obstacle(world: World, service: ServiceSpec) -> str:
    """Why a new replica cannot run beside the old ones; empty when it can."""
    if service.http_port:
        return f"port {service.http_port} can be held by one replica only"
    if not service.resources.gpu or not world.allocate_gpus:
        return ""
    if world.devices is None:
        return "the GPU inventory is not known"
    outcome = allocate(world.devices, world.claims, service.resources.gpu)
    return outcome.detail if isinstance(outcome, Refused) else ""


def _replace(
    world: World,
    service: ServiceSpec,
    wave: int,
    want: int,
    live: Sequence[ReplicaRecord],
    outdated: Sequence[ReplicaRecord],
    waiting: Sequence[ReplicaRecord],
    now: float,
    result: Steps,
) -> None:
    surged = len(live) > want
    if waiting and not surged:
        return  # the replacement before this one is not ready yet
    if waiting and all(r.state is ReplicaState.READY for r in outdated):
        return
    broken = [r for r in outdated if r.state is not ReplicaState.READY]
    victim = _least_useful(outdated)[0]
    restarts = runs_what_is_wanted(world, victim)
    reason = Reason.RESTART_REQUESTED if restarts else Reason.ROLLING_UPDATE
    cause = "a restart was asked for" if restarts else f"replaced by revision {world.graph.revision}"
    if not surged and not broken and (obstacle := surge_obstacle(world, service)):
        result.surge = False
        cause = f"{cause}; it stops first, because {obstacle}"
    elif not surged and not broken:
        mine = [r for r in world.replicas if r.service == service.name]
        beside = "to take the place of one that is restarted" if restarts else _in_place_of_older(world)
        _create(service, wave, 1, beside, reason, mine, result)
        return
    # What stops first, to run the same again, stays who it is: its devices, its port and its log.
    then = Then.RESTART if restarts and not surged else Then.REMOVE
    result.steps.append(stop_step(victim, service, reason=reason, cause=cause, then=then, now=now, wave=wave))


def _in_place_of_older(world: World) -> str:
    return f"to replace an older one by revision {world.graph.revision}"


def _create(
    service: ServiceSpec,
    wave: int,
    count: int,
    cause: str,
    reason: Reason,
    mine: Sequence[ReplicaRecord],
    result: Steps,
) -> None:
    used = {r.index for r in mine if not is_leaving(r) or r.state.holds_process}
    free = (n for n in range(1, len(used) + count + 1) if n not in used)
    for _, index in zip(range(count), free, strict=False):
        result.steps.append(Step(OperationKind.CREATE, service.name, cause, reason, index=index, wave=wave))


def _least_useful(replicas: Sequence[ReplicaRecord]) -> list[ReplicaRecord]:
    """Those that do not serve first, then the highest numbers."""
    return sorted(replicas, key=lambda r: (r.state is ReplicaState.READY, -r.index))


def _can_fall_back(world: World) -> bool:
    """Whether there is an earlier revision that worked, and differs from the one that is being rolled out."""
    stable = world.revisions.get(world.graph.stable)
    return stable is not None and stable.digest != world.target.digest


def _failure(world: World, waiting: Sequence[ReplicaRecord]) -> str:
    """Why the revision that is being rolled out should be given up; only replicas of that very revision tell."""
    for replica in waiting:
        if replica.revision != world.graph.revision or replica.ready_at is not None:
            continue
        if replica.state is ReplicaState.FAILED or len(replica.failures) >= ROLLOUT_FAILURES:
            return f"{replica.id} of revision {replica.revision} does not become ready: {replica.message}"
    return ""
