"""Probes as the engine uses them: readiness comes and goes, liveness restarts, a start that takes too long is ended."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dynamo.sdk.spec import ProbeSpec, ProbesSpec, RestartSpec
from dynamod.core.errors import Invalid
from dynamod.engine import Engine
from dynamod.engine.clock import SteadyClock
from dynamod.schema import Reason, Replica, ReplicaState, RestartRequest
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


def exists(path: Path, **fields: float) -> ProbeSpec:
    return ProbeSpec(kind="exec", target=f"test -e {path}", period=0.05, **fields)  # type: ignore[arg-type]


async def test_readiness_comes_and_goes(tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    probes = ProbesSpec(readiness=exists(flag, failure_threshold=2), liveness=None)
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only", probes=probes))), actor="user:0")
        (replica,) = await until_replicas(engine, lambda rs: bool(rs) and rs[0].pid is not None)
        assert replica.state is ReplicaState.STARTING
        flag.touch()
        (ready,) = await until_replicas(engine, all_ready)
        flag.unlink()
        (unready,) = await until_replicas(engine, lambda rs: rs[0].state is ReplicaState.UNREADY)
        assert (unready.reason, unready.pid) == (Reason.READINESS_FAILED, ready.pid)
        assert (await engine.graph("default", "demo")).state == "degraded"
        assert (await engine.why(unready.id)).probe == "exit code 1"
        flag.touch()
        await until_state(engine, "demo", "ready")
        await engine.stop(stop_graphs=True)


async def test_liveness_restarts(tmp_path: Path) -> None:
    flag = tmp_path / "alive"
    flag.touch()
    probes = ProbesSpec(
        readiness=ProbeSpec(kind="log", target="is up"),
        liveness=exists(flag, failure_threshold=2),
        startup_timeout=30.0,
    )
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only", probes=probes))), actor="user:0")
        (before,) = await until_replicas(engine, all_ready)
        flag.unlink()
        await until_replicas(engine, lambda rs: rs[0].reason is Reason.LIVENESS_FAILED)
        flag.touch()
        (after,) = await until_replicas(engine, lambda rs: all_ready(rs) and rs[0].pid != before.pid)
        assert after.restarts == 1
        assert "its liveness probe failed 2 times" in str([e.message for e in (await engine.why(after.id)).events])
        await engine.stop(stop_graphs=True)


async def test_a_start_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    probes = ProbesSpec(readiness=exists(tmp_path / "never"), liveness=None, startup_timeout=0.5)
    budget = RestartSpec(attempts=1, window=60.0, delay=0.05, max_delay=0.1)
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only", probes=probes, restart=budget))), actor="user:0")
        state = await until_state(engine, "demo", "failed")
        assert "not ready 0.5 s after its start" in state.message
        (replica,) = await replicas(engine)
        assert replica.reason is Reason.RESTART_BUDGET_SPENT
        assert replica.pid is None


@pytest.mark.parametrize(
    "probe",
    [
        ProbeSpec(kind="log", target="("),
        ProbeSpec(kind="exec", target=""),
        ProbeSpec(kind="tcp", target="many"),
        ProbeSpec(kind="http", target="/", period=0.0),
    ],
)
async def test_a_probe_that_cannot_work_is_refused(tmp_path: Path, probe: ProbeSpec) -> None:
    async with Engine(where(tmp_path)) as engine:
        with pytest.raises(Invalid, match=r"spec\.services\.Only\.probes"):
            spec = graph(tmp_path, service("Only", probes=ProbesSpec(readiness=probe)))
            await engine.submit(submission(spec), actor="user:0")
        assert not (await engine.graphs()).items


@pytest.mark.parametrize("hours", [1.0, -1.0])
async def test_a_line_of_the_log_is_found_whatever_time_the_engine_thinks_it_is(tmp_path: Path, hours: float) -> None:
    """The machine's clock was set: the engine goes on at its own pace, and shims stamp lines with the new time."""
    slow = {"BEFORE": "time.sleep(0.5)"}
    async with Engine(where(tmp_path)) as engine:
        engine.core.clock = SteadyClock(lambda: time.time() + 3600.0 * hours)
        await engine.submit(submission(graph(tmp_path, service("A", envs=slow))), actor="test")
        first = (await until_replicas(engine, all_ready))[0]
        await engine.restart("default", "demo", RestartRequest(), actor="test")

        def ready_again(found: list[Replica]) -> bool:
            return len(found) == 1 and all_ready(found) and found[0].pid != first.pid

        await until_replicas(engine, ready_again)
        await engine.stop(stop_graphs=True)
