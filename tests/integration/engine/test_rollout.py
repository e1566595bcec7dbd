"""Revisions: rolling updates with and without room for a surge, automatic and manual rollback, plans."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec
from dynamod.core.errors import Conflict, StalePlan
from dynamod.engine import Engine, EngineOptions
from dynamod.schema import (
    Action,
    Event,
    GraphChange,
    OperationKind,
    Reason,
    Replica,
    RestartRequest,
    RollbackRequest,
    StopRequest,
)
from tests.integration.engine.support import (
    all_ready,
    graph,
    replicas,
    service,
    submission,
    until,
    until_replicas,
    until_state,
    where,
)


def with_env(spec: GraphSpec, name: str, **envs: str) -> GraphSpec:
    """The same graph, with one service changed."""
    return replace(
        spec, services=tuple(replace(s, envs={**s.envs, **envs}) if s.name == name else s for s in spec.services)
    )


async def settled_on(engine: Engine, revision: int) -> list[Event]:
    """Wait until that revision is rolled out; all events so far."""

    async def done() -> bool:
        state = await engine.graph("default", "demo")
        found = await replicas(engine)
        return state.revision == revision and state.state == "ready" and all(r.revision == revision for r in found)

    await until(engine, done)
    return (await engine.events(0, 1000)).items


async def test_surge_keeps_capacity_and_spares_what_did_not_change(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", "Back"), service("Back", workers=2))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        (front,) = await replicas(engine, "Front")
        _, changed = await engine.submit(submission(with_env(spec, "Back", NEW="1")), actor="user:0")
        assert changed
        events = await settled_on(engine, 2)
        (front_now,) = await replicas(engine, "Front")
        assert front_now.pid == front.pid
        serving = 0
        lowest = 2
        for event in events:
            if event.service == "Back" and event.action is Action.REPLICA_STATE:
                serving += (event.data["state"] == "ready") - (event.data["state"] == "stopping")
            if event.action is Action.ROLLOUT_STARTED:
                lowest = serving
            lowest = min(lowest, serving) if lowest < 2 or event.action is Action.ROLLOUT_STARTED else 2
        assert serving == 2
        assert lowest == 2
        assert [r.number for r in await engine.revisions("default", "demo")] == [2, 1]
        await engine.stop(stop_graphs=True)


def lowest_serving(events: list[Event], service: str, since: int) -> int:
    """How few replicas of a service were ready at any moment after an event."""
    ready: set[str] = set()
    lowest: int | None = None
    for event in events:
        if event.service == service and event.replica is not None and event.action is not Action.REPLICA_CONDITION:
            (ready.add if event.data.get("state") == "ready" else ready.discard)(event.replica)
        if event.seq >= since:
            lowest = len(ready) if lowest is None else min(lowest, len(ready))
    assert lowest is not None
    return lowest


async def restarted(engine: Engine, before: list[Replica]) -> list[Event]:
    """Wait until every replica of `before` has begun anew and the graph is ready; the events so far."""
    pids = {r.pid for r in before}

    async def done() -> bool:
        now = await replicas(engine, before[0].service)
        graph = await engine.graph("default", "demo")
        return len(now) == len(before) and not pids & {r.pid for r in now} and graph.state == "ready"

    await until(engine, done)
    return (await engine.events(0, 1000)).items


async def test_a_restart_goes_one_replica_at_a_time_and_keeps_capacity(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", "Back"), service("Back", workers=3))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        before, (front,) = await replicas(engine, "Back"), await replicas(engine, "Front")
        shown = await engine.restart("default", "demo", RestartRequest(service="Back"), actor="user:0")
        assert shown.revision == 1
        events = await restarted(engine, before)
        begun = next(e for e in events if e.reason is Reason.RESTART_REQUESTED)
        assert (begun.action, begun.message) == (Action.ROLLOUT_STARTED, "restart of Back, one replica at a time")
        assert lowest_serving(events, "Back", begun.seq) == 3
        states = [e.data["state"] for e in events if e.action is Action.GRAPH_STATE and e.seq > begun.seq]
        assert states[0] == "deploying"
        assert set(states) == {"deploying", "ready"}
        finished = [e for e in events if e.action is Action.ROLLOUT_FINISHED and e.seq > begun.seq]
        assert [e.reason for e in finished] == [Reason.RESTART_REQUESTED]
        (front_now,) = await replicas(engine, "Front")
        assert front_now.pid == front.pid
        await engine.stop(stop_graphs=True)


async def test_without_room_a_restart_stops_first_and_keeps_who_each_replica_is(tmp_path: Path) -> None:
    environ = {"DYNAMOD_GPUS": "2xH100-80GB", "PATH": "/usr/bin:/bin"}
    spec = graph(tmp_path, service("Worker", workers=2, gpu=1))
    async with Engine(where(tmp_path), options=EngineOptions(environ=environ)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        before = await replicas(engine)
        plan = await engine.plan_change(GraphChange(graph="demo", action="restart"))
        assert [(o.kind, o.index) for o in plan.operations] == [
            *[(OperationKind.STOP, 2), (OperationKind.START, 2)],
            *[(OperationKind.STOP, 1), (OperationKind.START, 1)],
        ]
        assert "GPU" in plan.operations[0].cause
        assert "one replica fewer" in plan.notes[-1]
        await engine.apply(plan.id, actor="user:0")
        events = await restarted(engine, before)
        begun = next(e for e in events if e.reason is Reason.RESTART_REQUESTED)
        assert lowest_serving(events, "Worker", begun.seq) == 1
        assert [(r.id, r.gpus) for r in await replicas(engine)] == [(r.id, r.gpus) for r in before]
        await engine.stop(stop_graphs=True)


async def test_a_restart_goes_on_after_the_engine_has_restarted(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Only", workers=3))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        before = await replicas(engine)
        await engine.restart("default", "demo", RestartRequest(), actor="user:0")
    async with Engine(where(tmp_path)) as engine:
        await restarted(engine, before)
        await engine.stop(stop_graphs=True)


async def test_what_is_started_again_is_deploying_until_it_is_ready(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", "Back"), service("Back", workers=2))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        await engine.stop_graph("default", "demo", StopRequest(), actor="user:0")
        await until_state(engine, "demo", "stopped")
        last = engine.last_seq
        await engine.start_graph("default", "demo", actor="user:0")
        await until_state(engine, "demo", "ready")
        events = (await engine.events(last, 1000)).items
        states = {e.data["state"] for e in events if e.action is Action.GRAPH_STATE}
        assert states == {"deploying", "ready"}
        (back, _) = await replicas(engine, "Back")
        await engine.restart("default", "demo", RestartRequest(replica=back.id), actor="user:0")
        await until_replicas(engine, lambda found: all_ready(found) and back.pid not in {r.pid for r in found})
        events = (await engine.events(last, 1000)).items
        assert "degraded" not in {e.data["state"] for e in events if e.action is Action.GRAPH_STATE}
        await engine.stop(stop_graphs=True)


async def test_a_fixed_port_means_stop_then_start(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", http_port=18080))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        changed = with_env(spec, "Front", NEW="1")
        plan = await engine.plan(submission(changed), actor="user:0")
        assert plan.strategy == "stop_then_start"
        assert [o.kind for o in plan.operations] == [OperationKind.STOP, OperationKind.START]
        assert "port 18080" in plan.operations[0].cause
        assert [c.path for c in plan.changes] == ["services.Front.envs.NEW"]
        assert "stop-then-start" in plan.notes[0]
        await engine.apply(plan.id, actor="user:0")
        events = await settled_on(engine, 2)
        gone = next(e for e in events if e.action is Action.REPLICA_REMOVED)
        assert gone.data["state"] == "exited"
        starts = [e.seq for e in events if e.service == "Front" and e.data.get("state") == "starting"]
        assert len([seq for seq in starts if seq > gone.seq]) > 0
        assert not [e for e in events if e.seq < gone.seq and e.data.get("pid") and e.data.get("revision") == 2]
        await engine.stop(stop_graphs=True)


async def test_a_revision_that_fails_is_rolled_back(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", "Back"), service("Back", workers=2))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        pids = {r.pid for r in await replicas(engine)}
        await engine.submit(submission(with_env(spec, "Back", BEFORE="sys.exit(3)")), actor="user:0")
        events = await settled_on(engine, 3)
        assert {r.pid for r in await replicas(engine)} == pids
        failed = next(e for e in events if e.action is Action.ROLLOUT_FAILED)
        assert failed.reason is Reason.ROLLED_BACK
        assert "exited with code 3" in failed.message
        revisions = await engine.revisions("default", "demo")
        assert revisions[0].digest == revisions[2].digest
        await engine.stop(stop_graphs=True)


async def test_manual_rollback(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Only"))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        with pytest.raises(Conflict):
            await engine.rollback("default", "demo", RollbackRequest(), actor="user:0")
        await engine.submit(submission(with_env(spec, "Only", NEW="1")), actor="user:0")
        await settled_on(engine, 2)
        await engine.rollback("default", "demo", RollbackRequest(), actor="user:0")
        await settled_on(engine, 3)
        revision = await engine.revision("default", "demo", 3)
        assert revision.cause == "rollback to revision 1"
        assert revision.spec == spec
        await engine.stop(stop_graphs=True)


async def test_plans_explain_and_go_stale(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", "Back"), service("Back"))
    async with Engine(where(tmp_path)) as engine:
        plan = await engine.plan(submission(spec), actor="user:0")
        assert plan.strategy == "create"
        assert [(o.kind, o.service, o.wave) for o in plan.operations] == [("start", "Back", 1), ("start", "Front", 2)]
        await engine.apply(plan.id, actor="user:0")
        await until_replicas(engine, lambda rs: len(rs) == 2 and all_ready(rs))
        nothing = await engine.plan(submission(spec), actor="user:0")
        assert nothing.is_empty
        assert nothing.strategy == "none"
        later = await engine.plan(submission(with_env(spec, "Back", NEW="1")), actor="user:0")
        assert later.strategy == "surge"
        await engine.scale("default", "demo", "Back", 2, actor="user:0")
        with pytest.raises(StalePlan):
            await engine.apply(later.id, actor="user:0")
        await engine.stop(stop_graphs=True)
