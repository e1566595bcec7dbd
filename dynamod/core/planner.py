"""The planner: from what is wanted and what was observed to the next operations, each with its cause.

Pure and total: called again whenever something changed, it says what to do now and when to look again.
The dry run, `plan` and the reconcile loop all use it. Rollout rules are in `rollout`.
"""

from __future__ import annotations

from collections.abc import Sequence

from dynamo.sdk.spec import ServiceSpec
from dynamod.core.allocation import Claimed, Device, Granted, allocate
from dynamod.core.records import Goal, ReplicaRecord, Then
from dynamod.core.restarts import OBSTACLES
from dynamod.core.rollout import replicas_of_service
from dynamod.core.steps import Step, Steps, World, is_leaving, stop_step
from dynamod.schema.graphs import GpuShare
from dynamod.schema.states import OperationKind, Reason, ReplicaState

_NOTHING = Granted((), (), ())


def plan(world: World, now: float) -> Steps:
    """The next steps for one graph."""
    result = Steps()
    if world.graph.goal is Goal.RUN:
        _run(world, now, result)
    else:
        _stop(world, now, result)
    _enforce_deadlines(world, now, result)
    return result


def _run(world: World, now: float, result: Steps) -> None:
    claims = list(world.claims)
    settled: dict[str, bool] = {}
    for wave, names in enumerate(world.target.spec.start_order()):
        for name in names:
            service = world.target.spec.service(name)
            stage_open = all(settled.get(d.service, False) for d in service.dependencies)
            settled[name] = replicas_of_service(world, service, wave, stage_open, now, result)
            decided = {step.replica for step in result.steps}
            for replica in _of(world, name):
                if replica.id in decided:
                    continue
                _advance(world, service, replica, wave, claims, now, result)
    for replica in world.replicas:
        if replica.service not in settled and not is_leaving(replica):
            cause = f"revision {world.graph.revision} has no service {replica.service}"
            if all(settled.values()):
                step = stop_step(
                    replica, None, reason=Reason.ROLLING_UPDATE, cause=cause, then=Then.REMOVE, now=now, wave=0
                )
                result.steps.append(step)
    result.settled = all(settled.values()) and all(r.service in settled for r in world.replicas)


def _advance(
    world: World,
    service: ServiceSpec,
    replica: ReplicaRecord,
    wave: int,
    claims: list[Claimed],
    now: float,
    result: Steps,
) -> None:
    """What a replica that is to live needs next: a start, patience, or an end to a start-up that takes too long."""
    if replica.doom is not None:
        return
    if replica.state is ReplicaState.STARTING and replica.started_at is not None:
        deadline = replica.started_at + service.probes.startup_timeout
        if now >= deadline:
            cause = f"not ready {service.probes.startup_timeout:g} s after its start"
            cause = f"{cause}: {replica.probe or replica.progress}" if replica.probe or replica.progress else cause
            result.steps.append(
                stop_step(
                    replica, service, reason=Reason.STARTUP_TIMEOUT, cause=cause, then=Then.RETRY, now=now, wave=wave
                )
            )
        else:
            result.wake(deadline)
    elif replica.state in (ReplicaState.PENDING, ReplicaState.EXITED):
        result.steps.append(_start_step(world, service, replica, wave, claims, now, result))


def _start_step(
    world: World,
    service: ServiceSpec,
    replica: ReplicaRecord,
    wave: int,
    claims: list[Claimed],
    now: float,
    result: Steps,
) -> Step:
    def step(kind: OperationKind, reason: Reason, cause: str, granted: Granted = _NOTHING) -> Step:
        return Step(
            kind,
            service.name,
            cause,
            reason,
            replica=replica.id,
            index=replica.index,
            wave=wave,
            gpus=granted.shares,
            slots=granted.slots,
            placement=granted.reasons,
        )

    def wait(reason: Reason, cause: str) -> Step:
        return step(OperationKind.WAIT, reason, cause)

    # A retry further away than any delay: an earlier engine's clock was set back, and nobody is to wait for that.
    if replica.next_retry_at is not None and now < replica.next_retry_at <= now + service.restart.max_delay:
        result.wake(replica.next_retry_at)
        return wait(replica.reason if replica.reason in OBSTACLES else Reason.BACKING_OFF, replica.message)
    if missing := _missing_dependencies(world, service, replica):
        return wait(Reason.WAITING_FOR_DEPENDENCY, f"waits for {', '.join(missing)} to be ready")
    if service.http_port and (holder := _port_holder(world, service, replica)):
        return wait(Reason.CONFLICT, f"waits for {holder} to leave port {service.http_port}")
    cause = "wanted, and everything it needs is there" if replica.run == 0 else "its restart is due"
    wanted = service.resources.gpu
    if not wanted or not world.allocate_gpus:
        return step(OperationKind.START, Reason.SCHEDULED, cause)
    if world.devices is None:
        return wait(Reason.WAITING_FOR_INVENTORY, "waits for the GPU inventory to be read")
    outcome = _place(world.devices, claims, replica, wanted)
    if not isinstance(outcome, Granted):
        return wait(Reason.WAITING_FOR_GPU, outcome)
    claims += [
        Claimed(share.uuid, share.share, slot, replica.id)
        for share, slot in zip(outcome.shares, outcome.slots, strict=True)
    ]
    return step(OperationKind.START, Reason.SCHEDULED, cause, outcome)


def _place(devices: Sequence[Device], claims: list[Claimed], replica: ReplicaRecord, wanted: float) -> Granted | str:
    """The devices that the replica holds already, if they are fit, else new ones; or what it waits for.

    What hinders a device passes, and is waited for; a device that is faulty is left for another.
    """
    held = [claim for claim in claims if claim.holder == replica.id]
    if held and abs(sum(claim.share for claim in held) - wanted) < 1e-6:
        by_uuid = {device.uuid: device for device in devices}
        known = [by_uuid[claim.uuid] for claim in held if claim.uuid in by_uuid]
        if len(known) == len(held) and not any(device.faulty for device in known):
            if unfit := next((d for d in known if d.blocked), None):
                return f"waits for GPU {unfit.index}: {unfit.blocked}"
            claims[:] = [claim for claim in claims if claim.holder != replica.id]
            shares = tuple(
                GpuShare(uuid=d.uuid, index=d.index, share=c.share) for d, c in zip(known, held, strict=True)
            )
            return Granted(
                shares, tuple(c.slot for c in held), ("keeps the devices of its last run", *replica.placement)
            )
    others = [claim for claim in claims if claim.holder != replica.id]
    outcome = allocate(devices, others, wanted)
    if not isinstance(outcome, Granted):
        return "; ".join((outcome.detail, *outcome.reasons))
    claims[:] = others
    return outcome


def _missing_dependencies(world: World, service: ServiceSpec, replica: ReplicaRecord) -> list[str]:
    """Services that must have a ready replica before this one starts with its graph.

    A restart does not wait: clients hold on to what they know, and a chain of restarts would lengthen an outage.
    """
    if not _starts_with_its_graph(replica):
        return []
    names = {d.service for d in service.dependencies}
    wanted = {name for name in names if world.graph.wanted(world.target.spec.service(name)) > 0}
    ready = {r.service for r in world.replicas if r.state is ReplicaState.READY}
    return sorted(wanted - ready)


def _starts_with_its_graph(replica: ReplicaRecord) -> bool:
    """It never ran, or somebody has started a graph again that was stopped or had failed. One that backs off after
    an end nobody asked for is restarted; so is one that was told to restart."""
    return (
        not replica.run
        or replica.state is ReplicaState.EXITED
        or replica.reason in (Reason.SUBMITTED, Reason.WAITING_FOR_DEPENDENCY)
    )


def _port_holder(world: World, service: ServiceSpec, replica: ReplicaRecord) -> str | None:
    """A replica that is on its way out and may still listen on the port."""
    return next(
        (r.id for r in _of(world, service.name) if r is not replica and is_leaving(r) and r.state.holds_process), None
    )


def _stop(world: World, now: float, result: Steps) -> None:
    """In reverse order of the start: callers drain before what they call."""
    then, reason = (
        (Then.REMOVE, Reason.REMOVE_REQUESTED)
        if world.graph.goal is Goal.REMOVE
        else (Then.KEEP, Reason.STOP_REQUESTED)
    )
    waves = world.target.spec.start_order()
    known = {name for names in waves for name in names}
    order = [*reversed(waves), [r.service for r in world.replicas if r.service not in known]]
    for number, names in enumerate(order):
        mine = [r for r in world.replicas if r.service in names]
        for replica in mine:
            ended = replica.state is ReplicaState.EXITED and then is Then.KEEP
            if ended or (replica.doom is not None and replica.doom.then is then):
                continue
            service = world.target.spec.service(replica.service) if replica.service in known else None
            cause = "the graph is removed" if then is Then.REMOVE else "the graph is stopped"
            result.steps.append(
                stop_step(
                    replica,
                    service,
                    reason=reason,
                    cause=cause,
                    then=then,
                    now=now,
                    wave=number,
                    timeout=world.graph.stop_timeout,
                )
            )
        if any(r.state.holds_process for r in mine):
            return
    result.settled = all(r.state is ReplicaState.EXITED for r in world.replicas)


def _enforce_deadlines(world: World, now: float, result: Steps) -> None:
    decided = {step.replica for step in result.steps}
    for replica in world.replicas:
        doom = replica.doom
        if doom is None or replica.id in decided:
            continue
        if not replica.state.holds_process:
            if doom.then is Then.REMOVE and replica.state.is_terminal:
                result.steps.append(
                    Step(OperationKind.REMOVE, replica.service, doom.message, doom.reason, replica=replica.id)
                )
        elif not doom.killed:
            if now >= doom.deadline:
                cause = "it did not end within its drain timeout"
                result.steps.append(Step(OperationKind.KILL, replica.service, cause, doom.reason, replica=replica.id))
            else:
                result.wake(doom.deadline)


def _of(world: World, service: str) -> list[ReplicaRecord]:
    return sorted((r for r in world.replicas if r.service == service), key=lambda r: (r.index, r.created_at))
