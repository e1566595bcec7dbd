"""What the planner reads and what it yields: a graph's world, and steps with their causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dynamo.sdk.spec import ServiceSpec
from dynamod.core.allocation import Claimed, Device
from dynamod.core.records import Doom, GraphRecord, ReplicaRecord, RevisionRecord, Then
from dynamod.core.revisions import template_digest
from dynamod.schema.graphs import GpuShare
from dynamod.schema.states import OperationKind, Reason

DEFAULT_DRAIN = 30.0
"""Seconds to drain a replica whose service is no longer in the spec."""


@dataclass(frozen=True)
class World:
    """What the planner sees. `devices` is None while the GPU inventory is not known.

    `claims` are everyone's but the GPUs of this graph's replicas appear there too, with the replica as holder.
    """

    graph: GraphRecord
    revisions: Mapping[int, RevisionRecord]
    replicas: Sequence[ReplicaRecord]
    devices: Sequence[Device] | None = ()
    claims: Sequence[Claimed] = ()
    allocate_gpus: bool = True

    @property
    def target(self) -> RevisionRecord:
        return self.revisions[self.graph.revision]


@dataclass(frozen=True)
class Step:
    """One operation. `replica` is None for a CREATE, which has an `index` instead; STOP carries its `doom`."""

    kind: OperationKind
    service: str
    cause: str
    reason: Reason
    replica: str | None = None
    index: int | None = None
    wave: int = 0
    doom: Doom | None = None
    gpus: tuple[GpuShare, ...] = ()
    slots: tuple[int, ...] = ()
    placement: tuple[str, ...] = ()


@dataclass
class Steps:
    """What to do now. `look_again_at` is the next moment at which time alone changes the answer.

    `give_up` says why the revision that is being rolled out should be abandoned; `settled` that every
    replica wanted is there, of the wanted revision, and ready.
    """

    steps: list[Step] = field(default_factory=list)
    look_again_at: float | None = None
    give_up: str = ""
    settled: bool = False
    surge: bool = True

    def wake(self, at: float) -> None:
        self.look_again_at = at if self.look_again_at is None else min(at, self.look_again_at)


def is_current(world: World, replica: ReplicaRecord) -> bool:
    """Whether a replica runs what the wanted revision says of its service, and began after its last restart was asked
    for."""
    return runs_what_is_wanted(world, replica) and not is_due_for_restart(world, replica)


def is_due_for_restart(world: World, replica: ReplicaRecord) -> bool:
    asked = world.graph.restarted.get(replica.service)
    if asked is None or not replica.state.holds_process or replica.started_at is None:
        return False
    on_its_way = replica.doom is not None and replica.doom.then is Then.RESTART
    return replica.started_at < asked and not on_its_way


def runs_what_is_wanted(world: World, replica: ReplicaRecord) -> bool:
    """Whether a replica was made of what the wanted revision says of its service."""
    if replica.revision == world.graph.revision:
        return True
    made_from = world.revisions.get(replica.revision)
    if made_from is None or replica.service not in world.target.spec.service_names():
        return False
    return template_digest(made_from, replica.service) == template_digest(world.target, replica.service)


def is_leaving(replica: ReplicaRecord) -> bool:
    return replica.doom is not None and replica.doom.then is Then.REMOVE


def stop_step(
    replica: ReplicaRecord,
    service: ServiceSpec | None,
    *,
    reason: Reason,
    cause: str,
    then: Then,
    now: float,
    wave: int,
    timeout: float | None = None,
) -> Step:
    """Doom a replica; its drain timeout is the service's unless one is given."""
    doom = Doom(reason=reason, then=then, deadline=now + drain_timeout(service, timeout), message=cause)
    return Step(OperationKind.STOP, replica.service, cause, reason, replica=replica.id, wave=wave, doom=doom)


def drain_timeout(service: ServiceSpec | None, asked: float | None = None) -> float:
    """Seconds that a replica's requests get to end: as asked for, else as its service says."""
    if asked is not None:
        return asked
    return service.drain_timeout if service is not None else DEFAULT_DRAIN
