"""One graph's reconcile loop: observed → plan → execute, woken by changes and by deadlines, never by a clock tick."""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec
from msgspec.structs import replace

from dynamo.sdk.spec import RestartSpec
from dynamod.core import transitions
from dynamod.core.errors import EngineError
from dynamod.core.planner import plan
from dynamod.core.records import Goal, ReplicaRecord
from dynamod.core.startup import critical_chain, describe_chain
from dynamod.core.steps import Step, Steps, World
from dynamod.core.summary import summarise
from dynamod.core.transitions import End
from dynamod.drivers.base import Driver, Ended, LaunchError, NeedsBackend, Obstacle
from dynamod.drivers.environment import launch_of, sockets_dir
from dynamod.engine.core import Core
from dynamod.engine.probes import Probes
from dynamod.engine.submission import new_replica
from dynamod.engine.turn import Turn
from dynamod.engine.views import replica_view
from dynamod.schema.states import Action, OperationKind, Reason, ReplicaState

log = logging.getLogger(__name__)

Observation = Callable[[ReplicaRecord, float], ReplicaRecord]
Effect = Callable[[], None]
_STORE_RETRY = 1.0


class GraphActor:
    """Owns one graph: every change of it and its replicas is made under `lock`."""

    def __init__(self, core: Core, graph_id: str, on_gone: Callable[[str], None]) -> None:
        self.core = core
        self.graph_id = graph_id
        self.lock = asyncio.Lock()
        self._inbox: deque[tuple[str, Observation]] = deque()
        self._dirty = asyncio.Event()
        self._on_gone = on_gone
        self._probes = Probes(core, self.observe)
        self._turned = asyncio.Condition()
        self._conditions: dict[tuple[str, str], bool] = {}
        self.gone = False

    def wake(self) -> None:
        """Look again soon."""
        self._dirty.set()

    def observe(self, replica_id: str, observation: Observation) -> None:
        """Something was learned about a replica: `observation` maps its record to the new one."""
        self._inbox.append((replica_id, observation))
        self._dirty.set()

    def ended(self, replica_id: str, ended: Ended) -> None:
        """A run is over, as the driver saw it."""
        end = End(ended.code, ended.signal, ended.oom_kills, ended.at, ended.detail)

        def apply(record: ReplicaRecord, now: float) -> ReplicaRecord:
            if record.run != ended.run or not record.state.holds_process:
                return record
            return transitions.ended(record, end, self._restart_policy(record), now, self.core.chance())

        self.observe(replica_id, apply)

    async def run(self) -> None:
        """Reconcile until the graph is gone or the owner cancels this."""
        while True:
            self._dirty.clear()
            async with self.lock:
                try:
                    look_again_at = await self._settle()
                except Exception:  # a bug in one turn must not leave the graph without an owner
                    log.exception("graph %s: a turn failed", self.graph_id)
                    look_again_at = self.core.now() + _STORE_RETRY
            async with self._turned:
                self._turned.notify_all()
            if self.gone:
                self._on_gone(self.graph_id)
                return
            try:
                timeout = None if look_again_at is None else max(look_again_at - self.core.now(), 0.0)
                async with asyncio.timeout(timeout):
                    await self._dirty.wait()
            except TimeoutError:
                pass

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when `condition` holds; it is looked at after every turn. The caller sets the deadline."""
        async with self._turned:
            await self._turned.wait_for(lambda: self.gone or condition())

    async def _settle(self) -> float | None:
        """Take turns until there is nothing to write; returns when to look again."""
        while True:
            taken = list(self._inbox)
            self._inbox.clear()
            try:
                changed, look_again_at = await self._turn(taken)
            except EngineError as error:
                log.error("graph %s: %s", self.graph_id, error)
                self._inbox.extendleft(reversed(taken))
                return self.core.now() + _STORE_RETRY
            if self.gone or not (changed or self._inbox):
                return look_again_at

    async def _turn(self, taken: list[tuple[str, Observation]]) -> tuple[bool, float | None]:
        core = self.core
        turn = Turn(core.memory, self.graph_id, core.now())
        effects: list[Effect] = []
        for replica_id, observation in taken:
            self._observed(turn, replica_id, observation, effects)
        steps = plan(self._world(turn), turn.now)
        if steps.give_up:
            self._fall_back(turn, steps.give_up)
        else:
            for step in steps.steps:
                self._apply(turn, step, effects)
            self._summarise(turn, steps)
        told = self._tell_conditions(turn)
        self._release_claims(turn, effects)
        remove = turn.graph.goal is Goal.REMOVE and not turn.replicas
        if remove:
            turn.remove_graph()
        changed = await turn.commit(core.store, core.feed)
        self._conditions.update(dict.fromkeys(told, True))
        self.gone = self.gone or remove
        for effect in effects:
            effect()
        self._probes.follow([] if self.gone else turn.replicas, turn.revisions)
        return changed, steps.look_again_at

    def _world(self, turn: Turn) -> World:
        core = self.core
        return World(
            graph=turn.graph,
            revisions=turn.revisions,
            replicas=turn.replicas,
            devices=core.gpus.devices,
            claims=core.gpus.claimed(),
            allocate_gpus=core.options.allocate_gpus,
        )

    def _observed(self, turn: Turn, replica_id: str, observation: Observation, effects: list[Effect]) -> None:
        before = turn.replica(replica_id)
        if before is None:
            return
        after = observation(before, turn.now)
        turn.put_replica(after)
        launched = after.pid is not None and before.pid is None
        if after.doom is not None and after.state.holds_process and (launched or before.doom is None):
            effects.append(lambda: self._driver(after).terminate(after.id))

    def _apply(self, turn: Turn, step: Step, effects: list[Effect]) -> None:
        if step.kind is OperationKind.CREATE and step.index is not None:
            record = new_replica(turn.graph, step.service, step.index, turn.now)
            turn.put_replica(replace(record, reason=step.reason, message=step.cause))
            return
        record_or_none = turn.replica(step.replica or "")
        if record_or_none is None:
            return
        record = record_or_none
        driver = self._driver(record)
        if step.kind is OperationKind.WAIT:
            if (record.reason, record.message) != (step.reason, step.cause):
                turn.put_replica(
                    replace(
                        record,
                        state=ReplicaState.PENDING,
                        reason=step.reason,
                        message=step.cause,
                        updated_at=turn.now,
                    )
                )
        elif step.kind is OperationKind.START:
            turn.put_replica(transitions.launching(record, step.gpus, step.placement, turn.now))
            self.core.gpus.reserve(turn, record.id, step.gpus, step.slots)
            effects.append(lambda: self._start(record.id))
        elif step.kind is OperationKind.STOP and step.doom is not None:
            turn.put_replica(transitions.doomed(record, step.doom, turn.now))
            effects.append(lambda: driver.terminate(record.id))
        elif step.kind is OperationKind.KILL:
            turn.put_replica(transitions.kill_sent(record, turn.now))
            effects.append(lambda: driver.kill(record.id))
        elif step.kind is OperationKind.REMOVE:
            turn.remove_replica(record.id)
            effects.append(lambda: self._clear_sockets(record.id))
            # A replaced replica's log stays for whoever asks why it was replaced.
            keep = turn.graph.goal is not Goal.REMOVE
            effects.append(lambda: self._forget(driver, record.id, keep))

    def _tell_conditions(self, turn: Turn) -> list[tuple[str, str]]:
        """Note once for each replica what it lacks; returns what was noted."""
        untold = [condition for condition, told in self._conditions.items() if not told]
        for replica_id, text in untold:
            if (record := turn.replica(replica_id)) is not None:
                data = msgspec.to_builtins(replica_view(record))
                action, reason = Action.REPLICA_CONDITION, Reason.LIMITS_NOT_KEPT
                turn.note(action, reason, text, service=record.service, replica=record.id, data=data)
        return untold

    def _summarise(self, turn: Turn, steps: Steps) -> None:
        graph = turn.graph
        if steps.settled and graph.goal is Goal.RUN and graph.underway is not None:
            if graph.underway is Reason.RESTART_REQUESTED:
                turn.note(Action.ROLLOUT_FINISHED, graph.underway, "restarted: every replica is ready")
            graph = replace(graph, underway=None, restarted={})
        if steps.settled and graph.goal is Goal.RUN and graph.stable != graph.revision:
            message = f"revision {graph.revision} is ready"
            if not graph.stable and (chain := critical_chain(turn.revisions[graph.revision].spec, turn.replicas)):
                message += f"; its start took {turn.now - graph.created_at:.1f} s: {describe_chain(chain)}"
            graph = replace(graph, stable=graph.revision)
            turn.note(Action.ROLLOUT_FINISHED, Reason.ALL_READY, message)
            for replica in turn.replicas:
                turn.put_replica(replace(replica, revision=graph.revision))
        target = turn.revisions[graph.revision]
        wanted = sum(graph.wanted(service) for service in target.spec.services)
        state, reason, message = summarise(graph, turn.replicas, wanted, steps.settled)
        turn.put_graph(replace(graph, state=state, reason=reason, message=message))

    def _fall_back(self, turn: Turn, cause: str) -> None:
        """Give a revision up: the last one that worked comes back, as a new revision."""
        graph = turn.graph
        number = max(turn.revisions) + 1
        stable = turn.revisions[graph.stable]
        message = f"revision {graph.revision} was given up for {graph.stable}: {cause}"
        turn.put_revision(replace(stable, number=number, cause=message, created_at=turn.now))
        turn.put_graph(replace(graph, revision=number))
        turn.note(Action.ROLLOUT_FAILED, Reason.ROLLED_BACK, message)

    def _release_claims(self, turn: Turn, effects: list[Effect]) -> None:
        """A replica that will not run again by itself gives its devices back, once their memory is free."""
        for replica_id in {claim.replica_id for claim in self.core.memory.claims.values() if not claim.releasing}:
            known = self.core.memory.replicas.get(replica_id)
            if known is None or known.graph_id != self.graph_id:
                continue
            record = turn.replica(replica_id)
            if record is None or record.state in (ReplicaState.EXITED, ReplicaState.FAILED):
                self.core.gpus.release(turn, replica_id)
                effects.append(self.core.gpus.look_again)

    def _start(self, replica_id: str) -> None:
        self.core.tasks.start(self._launch(replica_id), f"start {replica_id}")

    async def _launch(self, replica_id: str) -> None:
        core = self.core
        if (refused := await self._prepare(replica_id)) is not None:
            self.observe(replica_id, refused)
            return
        async with core.starting:
            record = core.memory.replicas.get(replica_id)
            if record is None or record.state is not ReplicaState.STARTING:
                if record is not None and record.state.holds_process:  # doomed before its turn came
                    self.ended(replica_id, Ended(run=record.run, detail="it was stopped before it had started"))
                return
            run = record.run
            revision = core.memory.revisions[record.graph_id][record.revision]
            try:
                launch = launch_of(record, revision, core.around, gpus=core.options.allocate_gpus)
                sockets_dir(core.where, record.id).mkdir(mode=0o700, parents=True, exist_ok=True)
                running = await self._driver(record).start(launch)
            except (LaunchError, OSError) as error:
                self.observe(replica_id, partial(self._launch_failed, run, error))
                return

        if running.lacking:
            self._conditions.setdefault((replica_id, running.lacking), False)

        def apply(r: ReplicaRecord, now: float) -> ReplicaRecord:
            if r.run != run or not r.state.holds_process:
                return r
            return transitions.launched(r, running.pid or None, running.container, core.host, now)

        self.observe(replica_id, apply)

    async def _prepare(self, replica_id: str) -> Observation | None:
        """What takes long before a start, outside of the limit of starts at once; what failed, if it did."""
        record = self.core.memory.replicas.get(replica_id)
        driver: object = self._driver(record) if record is not None else None
        if record is None or not isinstance(driver, NeedsBackend):
            return None
        revision = self.core.memory.revisions[record.graph_id][record.revision]
        try:
            await driver.prepare(launch_of(record, revision, self.core.around, gpus=self.core.options.allocate_gpus))
        except LaunchError as error:
            return partial(self._launch_failed, record.run, error)
        return None

    def _launch_failed(self, run: int, error: Exception, record: ReplicaRecord, now: float) -> ReplicaRecord:
        if record.run != run or not record.state.holds_process:
            return record
        chance = self.core.chance()
        if isinstance(error, Obstacle):
            return transitions.obstructed(record, error.reason, str(error), now, chance)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return transitions.obstructed(record, Reason.DISK_FULL, str(error), now, chance)
        return transitions.launch_failed(record, str(error), self._restart_policy(record), now, chance)

    def _clear_sockets(self, replica_id: str) -> None:
        directory = sockets_dir(self.core.where, replica_id)
        work = asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        self.core.tasks.start(work, f"clear the sockets of {replica_id}")

    def _forget(self, driver: Driver, replica_id: str, keep_output: bool) -> None:
        self.core.tasks.start(driver.remove(replica_id, keep_output=keep_output), f"remove {replica_id}")

    def _restart_policy(self, record: ReplicaRecord) -> RestartSpec:
        revision = self.core.memory.revisions[record.graph_id].get(record.revision)
        if revision is None or record.service not in revision.spec.service_names():
            return RestartSpec()
        return revision.spec.service(record.service).restart

    def _driver(self, record: ReplicaRecord) -> Driver:
        return self.core.drivers[record.driver]
