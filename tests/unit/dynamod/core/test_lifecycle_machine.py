"""Planner and transitions together, driven at random: whatever happens, the rules hold and peace returns."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from dynamo.sdk.spec import DependencySpec, GraphSpec, ResourceSpec, RestartSpec, ServiceSpec
from dynamod.core import transitions
from dynamod.core.allocation import Claimed, Device
from dynamod.core.planner import plan
from dynamod.core.records import Doom, Goal, GraphRecord, ReplicaRecord, RevisionRecord, Then
from dynamod.core.steps import Step, World, is_leaving
from dynamod.core.summary import summarise
from dynamod.core.transitions import End
from dynamod.schema.states import GraphState, OperationKind, Reason, ReplicaState

POLICY = RestartSpec(attempts=3, window=100.0, delay=1.0, max_delay=4.0)


def spec(version: str, workers: int, gpu: float) -> GraphSpec:
    def one(name: str, *needs: str, **fields: Any) -> ServiceSpec:
        dependencies = tuple(DependencySpec(attribute=n.lower(), service=n) for n in needs)
        return ServiceSpec(name=name, target=f"m:{name}", dependencies=dependencies, restart=POLICY, **fields)

    services = (
        one("Front", "Back", http_port=8000),
        one("Back", workers=workers, resources=ResourceSpec(gpu=gpu), envs={"VERSION": version}),
    )
    return GraphSpec(name="demo", target="m:Front", entry="Front", services=services)


class Lifecycle(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.ids = itertools.count()
        self.replicas: dict[str, ReplicaRecord] = {}
        self.claims: dict[str, list[Claimed]] = {}
        self.devices = [Device(uuid=f"GPU-{n}", index=n) for n in range(4)]
        self.revisions: dict[int, RevisionRecord] = {}

    @initialize(workers=st.integers(0, 3), gpu=st.sampled_from([0.0, 0.5, 1.0]))
    def submit(self, workers: int, gpu: float) -> None:
        self.gpu = gpu
        self._revise(spec("1", workers, gpu))
        self.graph = GraphRecord(
            id="g", project="p", name="demo", driver="process", revision=1, created_at=0.0, updated_at=0.0
        )

    def _revise(self, new: GraphSpec) -> int:
        number = len(self.revisions) + 1
        self.revisions[number] = RevisionRecord(
            graph_id="g", number=number, digest=new.digest(), spec=new, created_at=self.now
        )
        return number

    def world(self) -> World:
        held = [claim for claims in self.claims.values() for claim in claims]
        return World(self.graph, self.revisions, list(self.replicas.values()), self.devices, held)

    # -- what the outside does

    @rule(version=st.sampled_from(["1", "2", "3"]), workers=st.integers(0, 3))
    def new_revision(self, version: str, workers: int) -> None:
        if self.graph.goal is not Goal.REMOVE:
            number = self._revise(spec(version, workers, self.gpu))
            self.graph = replace(self.graph, revision=number, scale={}, goal=Goal.RUN)

    @rule(count=st.integers(0, 3))
    def scale(self, count: int) -> None:
        self.graph = replace(self.graph, scale={"Back": count})

    @rule(goal=st.sampled_from([Goal.RUN, Goal.STOP]))
    def aim(self, goal: Goal) -> None:
        self.graph = replace(self.graph, goal=goal)

    @rule(seconds=st.sampled_from([0.5, 3.0, 40.0, 2000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: any(r.state is ReplicaState.STARTING for r in self.replicas.values()))
    @rule(data=st.data(), outcome=st.sampled_from(["ready", "crash", "config", "nothing", "never", "obstacle"]))
    def starting(self, data: st.DataObject, outcome: str) -> None:
        record = data.draw(st.sampled_from([r for r in self.replicas.values() if r.state is ReplicaState.STARTING]))
        if outcome == "never":
            self.put(transitions.launch_failed(record, "no such file", POLICY, self.now, 0.5))
        elif outcome == "obstacle":
            self.put(transitions.obstructed(record, Reason.DISK_FULL, "no room", self.now, 0.5))
        elif outcome == "ready":
            launched = transitions.launched(record, 7, None, "host", self.now)
            self.put(transitions.became_ready(launched, "ok", self.now))
        elif outcome in ("crash", "config"):
            self.end(record, End(code=1 if outcome == "crash" else 2))
        else:
            self.put(transitions.launched(record, 7, None, "host", self.now))

    @precondition(lambda self: any(r.state.holds_process for r in self.replicas.values()))
    @rule(data=st.data(), outcome=st.sampled_from(["killed", "gone", "unready", "ready", "lost", "found", "liveness"]))
    def running(self, data: st.DataObject, outcome: str) -> None:
        record = data.draw(st.sampled_from([r for r in self.replicas.values() if r.state.holds_process]))
        if outcome in ("killed", "gone"):
            self.end(record, End(signal=9, oom_kills=0) if outcome == "killed" else End())
        elif outcome == "unready":
            self.put(transitions.became_unready(record, Reason.READINESS_FAILED, "503", self.now))
        elif outcome == "ready":
            self.put(transitions.became_ready(record, "ok", self.now))
        elif outcome == "lost":
            self.put(transitions.lost(record, Reason.CONTACT_LOST, "no contact", self.now))
        elif outcome == "found":
            self.put(transitions.adopted(record, 7, None, self.now))
        elif record.doom is None:
            doom = Doom(Reason.LIVENESS_FAILED, Then.RETRY, self.now + 5)
            self.put(transitions.doomed(record, doom, self.now))

    def end(self, record: ReplicaRecord, end: End) -> None:
        self.put(transitions.ended(record, end, POLICY, self.now, 0.5))

    def put(self, record: ReplicaRecord) -> None:
        self.replicas[record.id] = record
        if record.state in (ReplicaState.EXITED, ReplicaState.FAILED):
            self.claims.pop(record.id, None)

    # -- what the engine does

    @rule()
    def turn(self) -> None:
        result = plan(self.world(), self.now)
        acting = [step.replica for step in result.steps if step.replica is not None]
        assert len(acting) == len(set(acting)), "two steps for one replica"
        assert all(step.cause for step in result.steps)
        if result.give_up:
            stable = self.revisions[self.graph.stable]
            self.graph = replace(self.graph, revision=self._revise(stable.spec))
            return
        for step in result.steps:
            self._carry_out(step)
        if result.settled and self.graph.goal is Goal.RUN:
            self.graph = replace(self.graph, stable=self.graph.revision)

    def _carry_out(self, step: Step) -> None:
        if step.kind is OperationKind.CREATE:
            assert step.index is not None
            record = ReplicaRecord(
                id=f"r{next(self.ids)}",
                graph_id="g",
                project="p",
                graph="demo",
                service=step.service,
                index=step.index,
                revision=self.graph.revision,
                driver="process",
                created_at=self.now,
                updated_at=self.now,
            )
            self.put(record)
            return
        record = self.replicas[step.replica or ""]
        if step.kind is OperationKind.START:
            assert record.state in (ReplicaState.PENDING, ReplicaState.EXITED)
            assert record.next_retry_at is None or record.next_retry_at <= self.now
            self.claims[record.id] = [
                Claimed(share.uuid, share.share, slot, record.id)
                for share, slot in zip(step.gpus, step.slots, strict=True)
            ]
            self.put(transitions.launching(record, step.gpus, step.placement, self.now))
        elif step.kind is OperationKind.STOP:
            assert step.doom is not None
            self.put(transitions.doomed(record, step.doom, self.now))
        elif step.kind is OperationKind.KILL:
            self.put(transitions.kill_sent(record, self.now))
        elif step.kind is OperationKind.REMOVE:
            assert not record.state.holds_process
            del self.replicas[record.id]

    # -- what always holds

    @invariant()
    def records_make_sense(self) -> None:
        for record in self.replicas.values():
            if not record.state.holds_process:
                assert record.pid is None
            if record.state is ReplicaState.STOPPING:
                assert record.doom is not None
            if record.state is ReplicaState.FAILED:
                assert record.next_retry_at is None
            assert len(record.failures) <= POLICY.attempts + 1

    @invariant()
    def no_worker_is_there_twice(self) -> None:
        places = [(r.service, r.index) for r in self.replicas.values() if not is_leaving(r)]
        assert len(places) == len(set(places))

    @invariant()
    def no_device_is_oversold(self) -> None:
        for device in self.devices:
            held = [c.share for claims in self.claims.values() for c in claims if c.uuid == device.uuid]
            assert sum(held) <= 1 + 1e-6

    def teardown(self) -> None:
        """From any state, once everything works, the graph becomes what is wanted."""
        if not self.revisions:
            return
        for record in list(self.replicas.values()):
            if record.state is ReplicaState.FAILED or (record.state is ReplicaState.EXITED and record.doom is None):
                self.put(transitions.revived(record, Reason.SUBMITTED, record.revision, self.now))
        for _ in range(200):
            self.now += 5.0
            self.turn()
            for record in list(self.replicas.values()):
                if record.doom is not None and record.state.holds_process:
                    self.end(record, End(code=0))
                elif record.state is ReplicaState.LOST:
                    self.put(transitions.adopted(record, 7, None, self.now))
                elif record.state in (ReplicaState.STARTING, ReplicaState.UNREADY):
                    self.put(transitions.became_ready(record, "ok", self.now))
        result = plan(self.world(), self.now)
        assert result.settled
        wanted = sum(self.graph.wanted(s) for s in self.revisions[self.graph.revision].spec.services)
        state, _, _ = summarise(self.graph, list(self.replicas.values()), wanted, result.settled)
        assert state is (GraphState.READY if self.graph.goal is Goal.RUN else GraphState.STOPPED)
        if self.graph.goal is Goal.RUN:
            assert len(self.replicas) == wanted


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
