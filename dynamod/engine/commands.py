"""What can be told to an engine. Every command is checked, written with its events, and carried out by the actors.

`actor` is who asks (`user:<uid>`, `token:<name>`): it stands in the audit trail. `if_match` is the graph's
version as the caller saw it; a command on another version raises PreconditionFailed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as replace_fields

from msgspec.structs import replace

from dynamod.core import transitions
from dynamod.core.allocation import shortage
from dynamod.core.changing import brought_back, ended, restarting, scaled, underway
from dynamod.core.errors import Conflict, GpuShortage, Invalid, PreconditionFailed
from dynamod.core.records import Doom, Goal, GraphRecord, ReplicaRecord, RevisionRecord
from dynamod.core.revisions import submitted_digest
from dynamod.drivers.base import NeedsBackend
from dynamod.engine.delegated import DelegatedActor, wanted_of
from dynamod.engine.images import Images
from dynamod.engine.submission import Submission, check, kept_scale, new_graph, revision_of
from dynamod.engine.turn import Turn
from dynamod.schema.graphs import (
    MAX_REPLICAS,
    MAX_STOP_TIMEOUT,
    DrainRequest,
    Graph,
    GraphSubmit,
    RestartRequest,
    RollbackRequest,
    StopRequest,
)
from dynamod.schema.states import Action, GraphState, Reason, ReplicaState


class Commands(Images):
    async def submit(self, request: GraphSubmit, *, actor: str) -> tuple[Graph, bool]:
        """Create a graph, or a new revision of it; whether anything changed. The same submission twice changes nothing.

        Raises:
            Invalid, NotFound, BuildError, GpuShortage, Conflict: nothing has changed.
        """
        self._open_for_change()
        async with self._resolved(request, actor) as submission:
            return await self._submit(submission, actor)

    async def scale(
        self, project: str, graph: str, service: str, replicas: int, *, actor: str, if_match: str | None = None
    ) -> Graph:
        """Set how many replicas a service has.

        Raises:
            NotFound, Invalid, PreconditionFailed, GpuShortage: nothing has changed.
        """
        core = self._open_for_change()
        if not 0 <= replicas <= MAX_REPLICAS:
            raise Invalid(f"must be between 0 and {MAX_REPLICAS}, not {replicas}", field="replicas")
        async with self._actor(core.memory.graph(project, graph)).lock:
            record = self._matching(project, graph, if_match)
            spec = core.memory.target(record).spec
            scale = scaled(record, spec, service, replicas)
            await self._check_gpus(record, core.memory.target(record), scale)
            turn = Turn(core.memory, record.id, core.now(), actor)
            if scale != record.scale:
                turn.put_graph(replace(record, scale=scale))
                was = record.wanted(spec.service(service))
                reason = Reason.SCALED_UP if replicas > was else Reason.SCALED_DOWN
                turn.note(Action.SERVICE_SCALED, reason, f"{service}: {was} -> {replicas} replicas", service=service)
            await turn.commit(core.store, core.feed)
        return self._changed(record)

    async def restart(
        self, project: str, graph: str, request: RestartRequest, *, actor: str, if_match: str | None = None
    ) -> Graph:
        """Restart all replicas or those of a service, one at a time, each beside its successor where there is room.
        One that is named restarts at once. All get a fresh budget, whatever state they are in.

        Raises:
            NotFound, Conflict, PreconditionFailed: nothing has changed.
        """
        core = self._open_for_change()
        async with self._actor(core.memory.graph(project, graph)).lock:
            record = self._matching(project, graph, if_match)
            turn = Turn(core.memory, record.id, core.now(), actor)
            after, chosen = restarting(
                record,
                core.memory.target(record).spec,
                core.memory.of_graph(record.id),
                service=request.service,
                replica=request.replica,
                now=turn.now,
            )
            if not await self._replaced_elsewhere(turn, record, Reason.RESTART_REQUESTED, request):
                turn.put_graph(after)
                if after != record and request.replica is None:
                    text = f"restart of {request.service or 'every service'}, one replica at a time"
                    turn.note(Action.ROLLOUT_STARTED, Reason.RESTART_REQUESTED, text)
            else:
                chosen = []
            await self._doom(turn, chosen)
        return self._changed(record)

    async def drain(
        self, project: str, graph: str, request: DrainRequest, *, actor: str, if_match: str | None = None
    ) -> Graph:
        """Let one replica, or all of a service, finish what they have begun and be replaced by fresh ones.

        Raises:
            NotFound, Invalid, Conflict, PreconditionFailed: nothing has changed.
        """
        core = self._open_for_change()
        async with self._actor(core.memory.graph(project, graph)).lock:
            record = self._matching(project, graph, if_match)
            turn = Turn(core.memory, record.id, core.now(), actor)
            chosen = ended(
                record,
                core.memory.target(record).spec,
                core.memory.of_graph(record.id),
                service=request.service,
                replica=request.replica,
                drain=True,
                now=turn.now,
                timeout=request.timeout,
            )
            if await self._replaced_elsewhere(turn, record, Reason.DRAINING, request):
                chosen = []
            await self._doom(turn, chosen)
        return self._changed(record)

    async def stop_graph(
        self, project: str, graph: str, request: StopRequest, *, actor: str, if_match: str | None = None
    ) -> Graph:
        """Drain and stop every replica, callers before what they call. The graph stays and can be started again."""
        if request.timeout is not None and not 0 <= request.timeout <= MAX_STOP_TIMEOUT:
            raise Invalid(f"must be between 0 and {MAX_STOP_TIMEOUT} seconds, not {request.timeout:g}", field="timeout")
        return await self._aim(project, graph, Goal.STOP, Reason.STOP_REQUESTED, actor, if_match, request.timeout)

    async def start_graph(self, project: str, graph: str, *, actor: str, if_match: str | None = None) -> Graph:
        """Start a stopped graph, or give the failed replicas of a running one a fresh budget."""
        return await self._aim(project, graph, Goal.RUN, Reason.SUBMITTED, actor, if_match)

    async def remove(self, project: str, graph: str, *, actor: str, if_match: str | None = None) -> None:
        """Stop a graph and forget it, its revisions and its logs, once all replicas have ended."""
        await self._aim(project, graph, Goal.REMOVE, Reason.REMOVE_REQUESTED, actor, if_match)

    async def rollback(
        self, project: str, graph: str, request: RollbackRequest, *, actor: str, if_match: str | None = None
    ) -> Graph:
        """Bring an earlier revision back, as a new one. `to` None: the last different one before the current."""
        core = self._open_for_change()
        async with self._actor(core.memory.graph(project, graph)).lock:
            record = self._matching(project, graph, if_match)
            known = core.memory.revisions[record.id]
            now = known[record.revision]
            chosen = brought_back(record, known, request.to)
            await self._check_gpus(record, chosen, record.scale)
            if chosen.digest != now.digest:
                turn = Turn(core.memory, record.id, core.now(), actor)
                number = max(known) + 1
                turn.put_revision(
                    replace(chosen, number=number, cause=f"rollback to revision {chosen.number}", created_at=turn.now)
                )
                turn.put_graph(_rolling(replace(record, revision=number, scale={})))
                turn.note(Action.ROLLOUT_STARTED, Reason.ROLLED_BACK, f"back to revision {chosen.number}")
                await turn.commit(core.store, core.feed)
        return self._changed(record)

    async def _submit(self, request: Submission, actor: str) -> tuple[Graph, bool]:
        core = self._open_for_change()
        name = check(request)
        request = await self._placed(request, name)
        while True:
            async with self._creation:  # of two who create the same graph at once, the second finds it
                known = core.memory.find(request.project, name)
                if known is None:
                    return await self._create(request, name, actor), True
            async with self._actor(known).lock:
                graph = core.memory.find(request.project, name)
                if graph is None or graph.id != known.id:
                    continue  # its removal was completed while this waited for its turn
                changed = await self._revise(graph, request, actor)
            self._actor(graph).wake()
            return self._view(core.memory.graph(request.project, name)), changed

    async def _create(self, request: Submission, name: str, actor: str) -> Graph:
        core = self.core
        record = new_graph(request, name, core.now())
        revision = revision_of(request, record.id, 1, "submitted", core.now())
        await self._check_gpus(record, revision, {})
        turn = Turn(core.memory, record.id, core.now(), actor)
        turn.create_graph(record)
        turn.put_revision(revision)
        turn.note(Action.GRAPH_CREATED, Reason.SUBMITTED, f"revision 1 of {request.spec.target}")
        await turn.commit(core.store, core.feed)
        self._adopt_graph(record)
        return self._view(record)

    async def _revise(self, graph: GraphRecord, request: Submission, actor: str) -> bool:
        core = self.core
        self._check_revisable(graph, request)
        now = core.memory.target(graph)
        digest = submitted_digest(request.spec, request.envs, request.build, request.kubernetes)
        if digest == now.digest and graph.goal is Goal.RUN:
            return False
        turn = Turn(core.memory, graph.id, core.now(), actor)
        if digest != now.digest:
            number = max(core.memory.revisions[graph.id]) + 1
            revision = revision_of(request, graph.id, number, "submitted", turn.now)
            scale = kept_scale(graph, now, revision)
            await self._check_gpus(graph, revision, scale)
            turn.put_revision(revision)
            graph = replace(graph, revision=number, scale=scale)
        if graph.goal is not Goal.RUN and not self._is_delegated(graph):
            graph = underway(graph, Reason.SUBMITTED)
        else:
            graph = _rolling(graph)
        turn.put_graph(replace(graph, goal=Goal.RUN, stop_timeout=None))
        turn.note(Action.GRAPH_UPDATED, Reason.SUBMITTED, f"revision {graph.revision}")
        if digest != now.digest:
            turn.note(Action.ROLLOUT_STARTED, Reason.ROLLING_UPDATE, f"revision {now.number} -> {graph.revision}")
        await turn.commit(core.store, core.feed)
        return True

    def _is_delegated(self, record: GraphRecord) -> bool:
        """Whether something else starts and replaces this graph's replicas."""
        return record.driver in self.core.graph_drivers

    async def _replaced_elsewhere(
        self, turn: Turn, record: GraphRecord, reason: Reason, request: RestartRequest | DrainRequest
    ) -> bool:
        """Leave a replacement to whatever runs this graph's replicas; False when that is us."""
        there = self._actor(record)
        if not isinstance(there, DelegatedActor):
            return False
        await there.restart(request.service, request.replica)
        text = f"replaced: {request.replica or request.service or 'all replicas'}"
        turn.note(Action.GRAPH_UPDATED, reason, text, service=request.service)
        return True

    async def _doom(self, turn: Turn, chosen: Sequence[tuple[ReplicaRecord, Doom]]) -> None:
        """Write a turn in which these replicas are told to end, and tell them."""
        core = self.core
        for one, doom in chosen:
            turn.put_replica(transitions.doomed(one, doom, turn.now))
        await turn.commit(core.store, core.feed)
        for one, _ in chosen:
            core.drivers[one.driver].terminate(one.id)

    async def _aim(
        self,
        project: str,
        graph: str,
        goal: Goal,
        reason: Reason,
        actor: str,
        if_match: str | None,
        timeout: float | None = None,
    ) -> Graph:
        core = self._open_for_change()
        async with self._actor(core.memory.graph(project, graph)).lock:
            record = self._matching(project, graph, if_match)
            if record.goal is Goal.REMOVE and goal is not Goal.REMOVE:
                raise Conflict(f"graph {graph!r} is being removed")
            turn = Turn(core.memory, record.id, core.now(), actor)
            if goal is Goal.RUN and record.goal is not Goal.RUN:
                await self._check_gpus(record, core.memory.target(record), record.scale)
            after = replace(record, goal=goal, stop_timeout=timeout)
            if goal is not record.goal:
                after = replace(after, underway=None, restarted={})
            if not self._is_delegated(record) and goal is Goal.RUN:
                if record.goal is not goal:
                    after = underway(after, reason)
                for replica in core.memory.of_graph(record.id):
                    if replica.state in (ReplicaState.FAILED, ReplicaState.EXITED) and replica.doom is None:
                        turn.put_replica(transitions.revived(replica, reason, replica.revision, turn.now))
                        after = underway(after, reason)
            turn.put_graph(after)
            if (record.goal, record.stop_timeout) != (goal, timeout):
                turn.note(Action.GRAPH_UPDATED, reason, f"wanted: {goal}")
            await turn.commit(core.store, core.feed)
        return self._changed(record)

    def _matching(self, project: str, graph: str, if_match: str | None) -> GraphRecord:
        record = self.core.memory.graph(project, graph)
        if if_match is not None and if_match.strip('"') != str(record.version):
            raise PreconditionFailed(graph, if_match.strip('"'), str(record.version))
        return record

    def _changed(self, record: GraphRecord) -> Graph:
        """Wake the graph's actor and show the graph as it is now."""
        self._actor(record).wake()
        return self._view(record)

    async def _placed(self, request: Submission, name: str) -> Submission:
        """The submission once its driver has said that it can be run; one of a cluster says where.

        Raises:
            Invalid, Conflict, Unavailable: it cannot.
        """
        core = self.core
        if (delegate := core.graph_drivers.get(request.driver)) is not None:
            known = core.memory.find(request.project, name)
            graph = known or new_graph(request, name, core.now())
            self._check_revisable(graph, request)
            before = core.memory.target(known).kubernetes if known is not None else None
            wanted = wanted_of(graph, revision_of(request, graph.id, graph.revision, "checked", core.now()))
            placed = await delegate.place(wanted, before)
            return replace_fields(request, spec=placed.spec, kubernetes=placed.options)
        if request.driver not in core.drivers:
            raise Invalid(
                f"there is no driver {request.driver!r} here", field="driver", remedy=f"use {', '.join(core.drivers)}"
            )
        known = core.memory.find(request.project, name)
        if known is not None and known.goal is not Goal.REMOVE:
            self._check_revisable(known, request)  # of two obstacles the one that no backend would remove
        driver = core.drivers[request.driver]
        if isinstance(driver, NeedsBackend):
            await driver.check()
        return request

    def _check_revisable(self, graph: GraphRecord, request: Submission) -> None:
        if graph.goal is Goal.REMOVE:
            raise Conflict(f"graph {graph.name!r} is being removed", remedy="submit it again once it is gone")
        if graph.driver != request.driver:
            raise Conflict(
                f"graph {graph.name!r} runs on driver {graph.driver!r}", remedy="remove it first, or use another name"
            )

    async def _check_gpus(self, graph: GraphRecord, revision: RevisionRecord, scale: dict[str, int]) -> None:
        """Too few GPUs is an error that says what is missing, never a warning."""
        core = self.core
        if not core.options.allocate_gpus or graph.driver in core.graph_drivers:
            return  # a cluster has devices of its own, and tells by itself when they do not suffice
        wanted = [
            service.resources.gpu
            for service in revision.spec.services
            for _ in range(scale.get(service.name, service.workers))
            if service.resources.gpu
        ]
        if not wanted:
            return
        devices = await core.gpus.known()
        own = {replica.id for replica in core.memory.of_graph(graph.id)}
        others = [claim for claim in core.gpus.claimed() if claim.holder not in own]
        refused = shortage(devices, others, wanted)
        if refused is not None:
            total = sum(wanted)
            raise GpuShortage(
                f"the graph wants {total:g} GPUs in all: {refused.detail}",
                wanted=total,
                available=refused.available,
                reasons=refused.reasons,
            )


def _rolling(graph: GraphRecord) -> GraphRecord:
    """From now on: whoever waits for the new revision must not take the state of the old one for its own."""
    return replace(graph, state=GraphState.DEPLOYING, reason=Reason.ROLLING_UPDATE, message="")
