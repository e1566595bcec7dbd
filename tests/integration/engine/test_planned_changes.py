"""Plans of changes other than a submission, what carrying them out does, and draining."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynamod.core.errors import Conflict, Invalid, NotFound, StalePlan
from dynamod.engine import Engine
from dynamod.schema import DrainRequest, GraphChange, OperationKind, Reason, StopRequest
from tests.integration.engine.support import (
    all_ready,
    graph,
    replicas,
    service,
    submission,
    until_replicas,
    until_state,
    where,
)

START, STOP = OperationKind.START, OperationKind.STOP


async def test_a_change_is_planned_and_carried_out_as_planned(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", "Back"), service("Back", workers=2))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")

        def change(action: str, **fields: object) -> GraphChange:
            return GraphChange(graph="demo", action=action, **fields)  # type: ignore[arg-type]

        settled = await engine.plan_change(change("settle"))
        assert settled.is_empty
        up = await engine.plan_change(change("scale", service="Back", replicas=3))
        assert [(o.kind, o.service, o.index) for o in up.operations] == [(START, "Back", 3)]
        assert [(c.path, c.before, c.after) for c in up.changes] == [("services.Back.replicas", 2, 3)]
        down = await engine.plan_change(change("scale", service="Back", replicas=0))
        assert [(o.kind, o.index, o.drain_timeout) for o in down.operations] == [(STOP, 2, 5.0), (STOP, 1, 5.0)]
        assert down.notes == ["nothing will answer for Back"]
        stop = await engine.plan_change(change("stop"))
        assert [(o.service, o.wave) for o in stop.operations] == [("Front", 0), ("Back", 1), ("Back", 1)]
        assert stop.strategy == "stop"
        restart = await engine.plan_change(change("restart", service="Front"))
        assert [(o.kind, o.index) for o in restart.operations] == [(START, 2), (STOP, 1)]
        assert restart.operations[1].cause == "a restart was asked for"
        assert (restart.strategy, restart.notes) == ("restart", [])
        (first, *_) = await replicas(engine, "Back")
        one = await engine.plan_change(change("restart", replica=first.id))
        assert {o.replica for o in one.operations} == {first.id}
        assert one.notes == []
        with pytest.raises(NotFound):
            await engine.plan_change(change("scale", service="Nope", replicas=1))
        with pytest.raises(Invalid):
            await engine.plan_change(change("scale", service="Back"))
        with pytest.raises(Conflict, match="no earlier revision"):
            await engine.plan_change(change("rollback"))

        await engine.apply(up.id, actor="user:0")
        await until_replicas(engine, lambda rs: len(rs) == 4 and all_ready(rs))
        with pytest.raises(StalePlan):
            await engine.apply(down.id, actor="user:0")

        removal = await engine.plan_change(change("remove"))
        assert (await engine.apply(removal.id, actor="user:0")).name == "demo"
        with pytest.raises(Conflict, match="being removed"):
            await engine.plan_change(change("restart"))
        await engine.stop(stop_graphs=True)


async def test_a_drained_replica_is_replaced_beside_itself(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Only", workers=2, drain_timeout=30.0), envs={"STUBBORN": "1"})
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        before, other = await replicas(engine)
        planned = await engine.plan_change(GraphChange(graph="demo", action="drain", replica=before.id))
        assert [(o.kind, o.replica == before.id) for o in planned.operations] == [(STOP, True), (START, False)]
        assert planned.strategy == "drain"
        await engine.apply(planned.id, actor="user:0")
        # It holds out until it is killed; the one in its place is ready long before.
        found = await until_replicas(engine, lambda rs: sum(r.state == "ready" for r in rs) == 2 and len(rs) == 3)
        draining = next(r for r in found if r.id == before.id)
        assert (draining.state, draining.reason) == ("stopping", Reason.DRAINING)
        fresh = next(r for r in found if r.id not in (before.id, other.id))
        assert fresh.message == "" or "drain" not in fresh.message
        with pytest.raises(Invalid, match="service or a replica"):
            await engine.drain("default", "demo", DrainRequest(), actor="user:0")
        await engine.stop_graph("default", "demo", StopRequest(timeout=0), actor="user:0")
        await until_state(engine, "demo", "stopped")
        with pytest.raises(Conflict, match="stopped"):
            await engine.drain("default", "demo", DrainRequest(service="Only"), actor="user:0")


async def test_a_drained_service_that_holds_a_port_is_replaced_after_itself(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", http_port=18083))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        (before,) = await replicas(engine)
        change = GraphChange(graph="demo", action="drain", service="Front")
        planned = await engine.plan_change(change)
        assert [o.kind for o in planned.operations] == [STOP, START]
        assert "Front does not answer" in planned.notes[0]
        await engine.drain("default", "demo", DrainRequest(service="Front"), actor="user:0")
        await until_replicas(engine, lambda rs: len(rs) == 1 and all_ready(rs) and rs[0].id != before.id)
        await engine.stop(stop_graphs=True)
