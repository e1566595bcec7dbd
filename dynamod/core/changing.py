"""Changes of a graph that is there: what each means, checked, for the commands that make it and for their plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_fields

from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec
from dynamod.core import transitions
from dynamod.core.errors import Conflict, Invalid, NotFound
from dynamod.core.records import Doom, Goal, GraphRecord, ReplicaRecord, RevisionRecord, Then
from dynamod.core.revisions import changes
from dynamod.core.steps import Step, World, drain_timeout, stop_step
from dynamod.schema.graphs import FieldChange, GraphChange
from dynamod.schema.states import GraphState, Reason, ReplicaState


@dataclass(frozen=True)
class Foretold:
    """A change on paper: the world as it makes it, the steps that it begins with, what differs, and what it costs."""

    world: World
    first: tuple[Step, ...] = ()
    changes: tuple[FieldChange, ...] = ()
    notes: tuple[str, ...] = ()


def scaled(graph: GraphRecord, spec: GraphSpec, service: str, replicas: int) -> dict[str, int]:
    """The replica counts that differ from the spec's, once `service` has so many. Raises NotFound."""
    _check_service(spec, service)
    scale = {**graph.scale, service: replicas}
    if replicas == spec.service(service).workers:
        del scale[service]
    return scale


def _check_service(spec: GraphSpec, service: str) -> None:
    """Raises NotFound."""
    if service not in spec.service_names():
        raise NotFound("service", service, known=spec.service_names())


def brought_back(graph: GraphRecord, known: Mapping[int, RevisionRecord], to: int | None) -> RevisionRecord:
    """The revision to go back to; None means the last different one before the current.

    Raises:
        NotFound, Conflict: there is none.
    """
    if to is not None:
        if to not in known:
            raise NotFound("revision", str(to), known=[str(n) for n in known])
        return known[to]
    digest = known[graph.revision].digest
    earlier = [n for n in sorted(known) if n < graph.revision and known[n].digest != digest]
    if not earlier:
        raise Conflict(f"graph {graph.name!r} has no earlier revision to go back to")
    return known[earlier[-1]]


def ended(
    graph: GraphRecord,
    spec: GraphSpec,
    replicas: Sequence[ReplicaRecord],
    *,
    service: str | None,
    replica: str | None,
    drain: bool,
    now: float,
    timeout: float | None = None,
) -> list[tuple[ReplicaRecord, Doom]]:
    """Whom a restart or a drain concerns, and the end that each is given.

    A restart runs the same replica again; of a drain a fresh one takes its place at once, where there is room.

    Raises:
        NotFound, Conflict, Invalid: it cannot be.
    """
    if graph.goal is not Goal.RUN:
        raise Conflict(f"graph {graph.name!r} is stopped", remedy="start it instead")
    if drain and service is None and replica is None:
        raise Invalid(
            "a drain needs a service or a replica",
            field="service",
            remedy="name one; stop drains the whole graph",
        )
    if service is not None:
        _check_service(spec, service)
    if replica is not None and replica not in {r.id for r in replicas}:
        raise NotFound("replica", replica, known=[r.id for r in replicas])
    reason, then, words = (
        (Reason.DRAINING, Then.REMOVE, "a drain was asked for")
        if drain
        else (Reason.RESTART_REQUESTED, Then.RESTART, "a restart was asked for")
    )
    found = []
    for one in replicas:
        if one.doom is None and service in (None, one.service) and replica in (None, one.id):
            known = spec.service(one.service) if one.service in spec.service_names() else None
            found.append((one, Doom(reason, then, now + drain_timeout(known, timeout), words)))
    return found


def underway(graph: GraphRecord, reason: Reason) -> GraphRecord:
    """The graph from now until it is settled: not degraded, for nothing has failed, but on its way."""
    return replace(graph, underway=reason, state=GraphState.DEPLOYING, reason=reason, message="")


def restarting(
    graph: GraphRecord,
    spec: GraphSpec,
    replicas: Sequence[ReplicaRecord],
    *,
    service: str | None,
    replica: str | None,
    now: float,
) -> tuple[GraphRecord, list[tuple[ReplicaRecord, Doom]]]:
    """The graph that is being restarted, and the ends that come at once.

    One replica that was named restarts at once, and so does what is not ready and serves nobody. Ready replicas are
    left to the planner, which replaces them one at a time.

    Raises:
        NotFound, Conflict: it cannot be.
    """
    chosen = ended(graph, spec, replicas, service=service, replica=replica, drain=False, now=now)
    if not chosen:
        return graph, []
    rolled = {one.service for one, _ in chosen if replica is None and one.state is ReplicaState.READY}
    graph = replace(graph, restarted={**graph.restarted, **dict.fromkeys(sorted(rolled), now)})
    return underway(graph, Reason.RESTART_REQUESTED), [
        (one, doom) for one, doom in chosen if replica is not None or one.state is not ReplicaState.READY
    ]


def foretell(world: World, change: GraphChange, now: float) -> Foretold:
    """The change on paper.

    Raises:
        NotFound, Conflict, Invalid: what making it would raise.
    """
    graph = world.graph
    if graph.goal is Goal.REMOVE and change.action not in ("settle", "remove"):
        raise Conflict(f"graph {graph.name!r} is being removed")
    match change.action:
        case "scale":
            return _scale(world, change)
        case "restart":
            return _restart(world, change, now)
        case "drain":
            return _drain(world, change, now)
        case "rollback":
            return _rollback(world, change)
        case "start":
            revived = [
                transitions.revived(r, Reason.SUBMITTED, r.revision, now)
                if r.state in (ReplicaState.FAILED, ReplicaState.EXITED) and r.doom is None
                else r
                for r in world.replicas
            ]
            started = underway(replace(graph, goal=Goal.RUN), Reason.SUBMITTED)
            return Foretold(with_fields(world, graph=started, replicas=revived))
        case "stop":
            stopped = replace(graph, goal=Goal.STOP, stop_timeout=change.timeout)
            note = "nothing answers until it is started again; its revisions and its logs stay"
            return Foretold(with_fields(world, graph=stopped), notes=(note,))
        case "remove":
            note = "the graph, its revisions and its logs are forgotten"
            return Foretold(with_fields(world, graph=replace(graph, goal=Goal.REMOVE)), notes=(note,))
    return Foretold(world)


def _scale(world: World, change: GraphChange) -> Foretold:
    if change.service is None or change.replicas is None:
        field = "service" if change.service is None else "replicas"
        raise Invalid("is needed to scale", field=f"change.{field}")
    spec = world.target.spec
    scale = scaled(world.graph, spec, change.service, change.replicas)
    before = world.graph.wanted(spec.service(change.service))
    notes = () if change.replicas else (f"nothing will answer for {change.service}",)
    path = f"services.{change.service}.replicas"
    differs = () if before == change.replicas else (FieldChange(path=path, before=before, after=change.replicas),)
    return Foretold(with_fields(world, graph=replace(world.graph, scale=scale)), (), differs, notes)


def _restart(world: World, change: GraphChange, now: float) -> Foretold:
    spec = world.target.spec
    service, replica = change.service, change.replica
    graph, chosen = restarting(world.graph, spec, world.replicas, service=service, replica=replica, now=now)
    return _with_ends(with_fields(world, graph=graph), chosen, now)


def _drain(world: World, change: GraphChange, now: float) -> Foretold:
    chosen = ended(
        world.graph,
        world.target.spec,
        world.replicas,
        service=change.service,
        replica=change.replica,
        drain=True,
        now=now,
        timeout=change.timeout,
    )
    return _with_ends(world, chosen, now)


def _with_ends(world: World, chosen: Sequence[tuple[ReplicaRecord, Doom]], now: float) -> Foretold:
    """The ends that come at once, and which services do not answer because of them."""
    steps = tuple(
        stop_step(
            one,
            None,
            reason=doom.reason,
            cause=doom.message,
            then=doom.then,
            now=now,
            wave=0,
            timeout=doom.deadline - now,
        )
        for one, doom in chosen
    )
    ends = {one.id for one, _ in chosen}
    notes = []
    for name in world.target.spec.service_names():
        serving = {r.id for r in world.replicas if r.service == name and r.state is ReplicaState.READY}
        if serving and serving <= ends:
            notes.append(f"{name} does not answer from now until the first of its replicas is ready again")
    return Foretold(world, steps, notes=tuple(notes))


def _rollback(world: World, change: GraphChange) -> Foretold:
    graph = world.graph
    chosen = brought_back(graph, world.revisions, change.to)
    if chosen.digest == world.target.digest:
        return Foretold(world, notes=(f"revision {chosen.number} is what runs already",))
    number = max(world.revisions) + 1
    revisions = {**world.revisions, number: replace(chosen, number=number)}
    after = with_fields(world, graph=replace(graph, revision=number, scale={}), revisions=revisions)
    note = f"revision {chosen.number} comes back as revision {number}"
    return Foretold(after, (), tuple(changes(world.target, chosen)), (note,))
