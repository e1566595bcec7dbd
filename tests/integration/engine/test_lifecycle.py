"""Start order, restarts, stop, scale and removal, with real processes under real shims."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from dynamod.core.errors import Conflict, Invalid, NotFound, PreconditionFailed
from dynamod.engine import Engine
from dynamod.schema import Action, GraphState, Reason, ReplicaState, RestartRequest, StopRequest
from tests.integration.engine.support import (
    QUICK,
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


async def test_starts_what_others_need_first_and_stops_in_reverse(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", "Mid"), service("Mid", "Back"), service("Back", workers=2))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        await engine.stop_graph("default", "demo", StopRequest(), actor="user:0")
        await until_state(engine, "demo", "stopped")
        events = (await engine.events(0, 1000)).items
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
    became = [(e.service, e.data["state"]) for e in events if e.action is Action.REPLICA_STATE]
    ready = [name for name, state in became if state == "ready"]
    assert sorted(ready) == ["Back", "Back", "Front", "Mid"]
    assert ready.index("Back") < ready.index("Mid") < ready.index("Front")  # one of two is enough to go on
    first_start = {name: next(n for n, b in enumerate(became) if b == (name, "starting")) for name, _ in became}
    assert became.index(("Back", "ready")) < first_start["Mid"]
    assert [name for name, state in became if state == "exited"] == ["Front", "Mid", "Back", "Back"]


@pytest.mark.parametrize("by", ["start", "submit"])
async def test_starts_again_in_the_order_of_a_first_start(tmp_path: Path, by: str) -> None:
    spec = graph(tmp_path, service("Front", "Mid"), service("Mid", "Back"), service("Back", workers=2))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        await engine.stop_graph("default", "demo", StopRequest(), actor="user:0")
        await until_state(engine, "demo", "stopped")
        before = engine.last_seq
        if by == "start":
            await engine.start_graph("default", "demo", actor="user:0")
        else:
            await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        events = (await engine.events(before, 1000)).items
        await engine.stop(stop_graphs=True)
    became = [(e.service, e.data["state"]) for e in events if e.action is Action.REPLICA_STATE]
    for caller, callee in (("Mid", "Back"), ("Front", "Mid")):
        assert became.index((callee, "ready")) < became.index((caller, "starting"))


async def test_submitting_twice_changes_nothing(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Only"))
    async with Engine(where(tmp_path)) as engine:
        _, first = await engine.submit(submission(spec), actor="user:0")
        ready = await until_state(engine, "demo", "ready")
        again, second = await engine.submit(submission(spec), actor="user:0")
        assert (first, second) == (True, False)
        assert again.etag == ready.etag
        await engine.stop(stop_graphs=True)


async def test_two_who_create_the_same_graph_at_once_get_one(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Only", workers=0))
    async with Engine(where(tmp_path)) as engine:
        outcomes = await asyncio.gather(*(engine.submit(submission(spec), actor="user:0") for _ in range(5)))
        assert sorted(changed for _, changed in outcomes) == [False, False, False, False, True]
        assert len({found.id for found, _ in outcomes}) == 1
        assert len((await engine.graphs()).items) == 1


async def test_restart_budget_is_spent_and_said(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Only", envs={"BEFORE": "print('boom', flush=True); sys.exit(7)"}))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        state = await until_state(engine, "demo", "failed")
        assert state.reason is Reason.RESTART_BUDGET_SPENT
        (replica,) = await replicas(engine)
        assert replica.state is ReplicaState.FAILED
        assert replica.last_exit is not None
        assert (replica.last_exit.code, replica.last_exit.reason) == (7, Reason.EXITED_WITH_ERROR)
        assert "3 restarts within 60 s" in replica.message
        why = await engine.why(replica.id)
        assert why.log_tail == ["boom"] * 4
        assert "exited with code 7" in why.summary
        backing_off = [e for e in why.events if e.reason is Reason.BACKING_OFF]
        assert all(e.data["next_retry_at"] for e in backing_off)
        await engine.start_graph("default", "demo", actor="user:0")
        await until_state(engine, "demo", "deploying")


async def test_a_configuration_error_is_not_retried(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Only", envs={"BEFORE": "sys.exit(2)"}))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "failed")
        (replica,) = await replicas(engine)
        assert "configuration error" in replica.message
        assert replica.restarts == 1


async def test_a_missing_program_is_told(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Only"))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        (tmp_path / "stand-in").unlink()
        (replica,) = await replicas(engine)
        os.kill(replica.pid or 0, signal.SIGKILL)
        await until_state(engine, "demo", "failed")
        (replica,) = await replicas(engine)
        assert "No such file" in replica.message


async def test_drain_then_kill_of_the_whole_group(tmp_path: Path) -> None:
    stubborn = service(
        "Only",
        drain_timeout=2.0,
        envs={"STUBBORN": "1", "BEFORE": "import subprocess; subprocess.Popen(['sleep', '1000'])"},
    )
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(graph(tmp_path, stubborn)), actor="user:0")
        await until_state(engine, "demo", "ready")
        (replica,) = await replicas(engine)
        process = psutil.Process(replica.pid)
        family = [process, *process.children()]
        assert len(family) == 2
        await engine.stop_graph("default", "demo", StopRequest(), actor="user:0")
        await until_state(engine, "demo", "stopped")
        assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)
        (replica,) = await replicas(engine)
        assert replica.last_exit is not None
        assert replica.last_exit.signal == "SIGKILL"
        assert not replica.last_exit.oom_killed
        assert (await engine.why(replica.id)).log_tail[-1] == "draining"


async def test_what_left_the_process_group_is_ended_too(tmp_path: Path) -> None:
    runaway = "import subprocess; print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True)"
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only", envs={"BEFORE": runaway}))), actor="user:0")
        await until_state(engine, "demo", "ready")
        (replica,) = await replicas(engine)
        runaway_pid = int((await engine.why(replica.id)).log_tail[0])
        assert psutil.pid_exists(runaway_pid)
        os.kill(replica.pid or 0, signal.SIGKILL)
        await until_replicas(engine, lambda rs: all_ready(rs) and rs[0].pid != replica.pid)
        runaways = [p for p in psutil.process_iter() if p.pid == runaway_pid and p.status() != psutil.STATUS_ZOMBIE]
        assert runaways == []
        await engine.stop(stop_graphs=True)


async def test_scale_up_and_down_and_remove(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", "Back"), service("Back"))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        before = {r.id for r in await replicas(engine)}
        graph_now = await engine.scale("default", "demo", "Back", 3, actor="user:0")
        found = await until_replicas(engine, lambda rs: len(rs) == 4 and all_ready(rs))
        assert before < {r.id for r in found}
        assert sorted(r.index for r in found if r.service == "Back") == [1, 2, 3]
        with pytest.raises(PreconditionFailed):
            await engine.scale("default", "demo", "Back", 2, actor="user:0", if_match=graph_now.etag + "0")
        await engine.scale("default", "demo", "Back", 1, actor="user:0")
        found = await until_replicas(engine, lambda rs: len(rs) == 2)
        assert {r.id for r in found} == before
        with pytest.raises(NotFound, match="Bakc"):
            await engine.scale("default", "demo", "Bakc", 1, actor="user:0")
        with pytest.raises(Invalid):
            await engine.scale("default", "demo", "Back", -1, actor="user:0")
        pids = [r.pid for r in found]
        await engine.remove("default", "demo", actor="user:0")

        async def gone() -> bool:
            return not (await engine.graphs()).items

        await until(engine, gone)
        assert not any(psutil.pid_exists(pid or 0) for pid in pids)
        with pytest.raises(NotFound):
            await engine.graph("default", "demo")


async def test_restart_stop_and_start_again(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", "Back"), service("Back"))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        before = {r.id: r.pid for r in await replicas(engine)}
        (back,) = await replicas(engine, "Back")
        await engine.restart("default", "demo", RestartRequest(replica=back.id), actor="user:0")
        found = await until_replicas(engine, lambda rs: all_ready(rs) and any(r.pid != before[r.id] for r in rs))
        assert [r.service for r in found if r.pid != before[r.id]] == ["Back"]
        assert all(r.restarts == 0 for r in found)
        await engine.stop_graph("default", "demo", StopRequest(timeout=3.0), actor="user:0")
        await until_state(engine, "demo", "stopped")
        assert all(r.state is ReplicaState.EXITED for r in await replicas(engine))
        with pytest.raises(Conflict):
            await engine.restart("default", "demo", RestartRequest(), actor="user:0")
        await engine.start_graph("default", "demo", actor="user:0")
        graph_now = await until_state(engine, "demo", "ready")
        assert graph_now.state is GraphState.READY
        assert {r.id for r in await replicas(engine)} == set(before)
        await engine.stop(stop_graphs=True)


async def test_two_engines_never_share_a_state_directory(tmp_path: Path) -> None:
    async with Engine(where(tmp_path)):
        with pytest.raises(Exception, match=f"pid {os.getpid()}"):
            await Engine(where(tmp_path)).start()
    await asyncio.wait_for(_start_and_stop(tmp_path), 20)


async def _start_and_stop(tmp_path: Path) -> None:
    async with Engine(where(tmp_path)):
        pass


async def test_what_a_replica_and_its_driver_say_loses_its_secrets(tmp_path: Path) -> None:
    """In the record, so in every answer, and in every event."""
    bad = service("Bad", restart=replace(QUICK, attempts=1))
    broken = tmp_path / "broken;HF_TOKEN=hf_secret123"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    spec = replace(graph(tmp_path, bad), interpreter=str(broken))
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "failed")
        (found,) = await replicas(engine)
        assert "HF_TOKEN=***" in found.message
        told = (await engine.events(0, 1000)).items
        assert any("HF_TOKEN=***" in event.message for event in told)
        assert not [event for event in told if "hf_secret123" in str(event)]
        await engine.stop(stop_graphs=True)
