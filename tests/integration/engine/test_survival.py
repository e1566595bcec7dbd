"""The daemon is disposable: replicas, their logs and exit codes outlive it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil

from dynamo.sdk.spec import GraphSpec, encode
from dynamod.drivers import logfile
from dynamod.drivers.identity import read_run
from dynamod.engine import Engine
from dynamod.schema import Reason, ReplicaState, StopRequest
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

DAEMON = Path(__file__).with_name("daemon.py")
ROOT = Path(__file__).parents[3]


async def killed_daemon(tmp_path: Path, spec: GraphSpec, services: int) -> dict[str, int]:
    """Run a daemon until its graph is ready, kill it, and return the pids of the replicas that it left."""
    spec_file = tmp_path / "spec.json"
    spec_file.write_bytes(encode(spec))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(DAEMON),
        str(where(tmp_path).state_dir),
        str(spec_file),
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 30)
    async with asyncio.timeout(30):
        while len(pids := running(tmp_path)) < services:
            await asyncio.sleep(0.02)
    process.kill()
    await process.communicate()
    return pids


def alive(pid: int) -> bool:
    """A zombie that nobody reaps does not run."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def running(tmp_path: Path) -> dict[str, int]:
    """Replicas whose log says that they are up, by id."""
    found = {}
    for directory in where(tmp_path).replicas_dir.glob("*"):
        record = read_run(directory, 1)
        if record is not None and b" is up" in log_of(directory):
            found[directory.name] = record.pid
    return found


def log_of(directory: Path) -> bytes:
    log = Path(logfile.log_dir(str(directory)))
    return b"".join((log / logfile.segment_name(n)).read_bytes() for n in logfile.segments(str(log)))


def ticks(directory: Path) -> list[int]:
    return [int(line.split()[1]) for line in log_of(directory).splitlines() if line.startswith(b"tick ")]


async def test_a_killed_daemon_comes_back_to_the_same_replicas(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Front", "Back"), service("Back", workers=2, envs={"CHATTY": "1"}))
    pids = await killed_daemon(tmp_path, spec, 3)
    chatty = where(tmp_path).replica_dir(next(name for name in pids if "back" in name))
    seen = len(ticks(chatty))
    async with asyncio.timeout(10):
        while len(ticks(chatty)) < seen + 10:
            await asyncio.sleep(0.02)
    async with Engine(where(tmp_path)) as engine:
        found = await until_replicas(engine, lambda rs: len(rs) == 3 and all_ready(rs))
        assert {r.id: r.pid for r in found} == pids
        assert all(r.restarts == 0 for r in found)
        told = ticks(chatty)
        assert told == list(range(1, len(told) + 1))
        records = logfile.read_index(logfile.log_dir(str(chatty)), 0)
        assert [line for _, _, line in records] == sorted({line for _, _, line in records})
        events = (await engine.events(0, 1000)).items
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        await engine.stop(stop_graphs=True)
    assert not any(alive(pid) for pid in pids.values())


async def test_what_ended_meanwhile_is_known_with_its_exit_code(tmp_path: Path) -> None:
    spec = graph(
        tmp_path,
        service("Killed"),
        service("Coded", envs={"THEN": "signal.signal(signal.SIGUSR1, lambda *_: os._exit(42))"}),
    )
    pids = await killed_daemon(tmp_path, spec, 2)
    killed = next(pid for name, pid in pids.items() if "killed" in name)
    coded = next(pid for name, pid in pids.items() if "coded" in name)
    os.kill(killed, signal.SIGKILL)
    os.kill(coded, signal.SIGUSR1)
    async with asyncio.timeout(10):
        while any(alive(pid) for pid in (killed, coded)):
            await asyncio.sleep(0.02)
    async with Engine(where(tmp_path)) as engine:
        found = await until_replicas(engine, lambda rs: all_ready(rs) and not {r.pid for r in rs} & {killed, coded})
        exits = {r.service: r.last_exit for r in found}
        assert exits["Killed"] is not None
        assert exits["Coded"] is not None
        assert (exits["Killed"].signal, exits["Killed"].reason) == ("SIGKILL", Reason.KILLED_BY_SIGNAL)
        assert (exits["Coded"].code, exits["Coded"].reason) == (42, Reason.EXITED_WITH_ERROR)
        await engine.stop(stop_graphs=True)


async def test_a_killed_shim_costs_its_replica_and_never_doubles_it(tmp_path: Path) -> None:
    async with Engine(where(tmp_path)) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only"))), actor="user:0")
        await until_state(engine, "demo", "ready")
        (before,) = await replicas(engine)
        record = read_run(where(tmp_path).replica_dir(before.id), 1)
        assert record is not None
        os.kill(record.shim_pid, signal.SIGKILL)
        (after,) = await until_replicas(engine, lambda rs: all_ready(rs) and rs[0].pid != before.pid)
        assert not alive(before.pid or 0)
        assert after.last_exit is not None
        assert after.last_exit.reason is Reason.EXIT_UNKNOWN
        await engine.stop(stop_graphs=True)


async def test_daemon_and_shim_killed_together(tmp_path: Path) -> None:
    pids = await killed_daemon(tmp_path, graph(tmp_path, service("Only")), 1)
    ((name, pid),) = pids.items()
    record = read_run(where(tmp_path).replica_dir(name), 1)
    assert record is not None
    os.kill(record.shim_pid, signal.SIGKILL)
    async with Engine(where(tmp_path)) as engine:
        await until_replicas(engine, lambda rs: all_ready(rs) and rs[0].pid != pid)
        assert not alive(pid)
        await engine.stop(stop_graphs=True)


async def test_a_stop_that_was_asked_for_is_finished_by_the_next_engine(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Only", envs={"STUBBORN": "1"}, drain_timeout=1.0))
    engine = Engine(where(tmp_path))
    await engine.start()
    await engine.submit(submission(spec), actor="user:0")
    await until_state(engine, "demo", "ready")
    (replica,) = await replicas(engine)
    await engine.stop_graph("default", "demo", StopRequest(), actor="user:0")
    await until_replicas(engine, lambda rs: rs[0].state is ReplicaState.STOPPING)
    await engine.stop()
    assert alive(replica.pid or 0)
    async with Engine(where(tmp_path)) as engine:
        await until_state(engine, "demo", "stopped")
        assert not alive(replica.pid or 0)


async def test_contact_lost_is_not_death(tmp_path: Path) -> None:
    """A replica without a status, whose process lives, is neither restarted nor duplicated."""
    from msgspec.structs import replace as with_fields

    from dynamo.runtime import keys
    from dynamo.runtime.status import ReplicaStatus
    from dynamo.runtime.status import encode as encode_status
    from dynamo.sdk.spec import ProbesSpec
    from dynamod.engine import EngineOptions

    async with Engine(where(tmp_path), options=EngineOptions(contact_grace=0.1)) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only", probes=ProbesSpec()))), actor="user:0")
        (replica,) = await until_replicas(engine, lambda rs: bool(rs) and rs[0].pid is not None)
        discovery = engine.discovery
        key = keys.replica_key("default/demo", replica.id)
        status = ReplicaStatus(
            replica_id=replica.id, service="Only", pid=replica.pid or 0, host=replica.host, state="starting"
        )
        await discovery.put(key, encode_status(with_fields(status, progress="loading weights 3/8")))
        await until_replicas(engine, lambda rs: rs[0].progress == "loading weights 3/8")
        await discovery.put(key, encode_status(with_fields(status, state="ready", http="http://127.0.0.1:1")))
        (ready,) = await until_replicas(engine, all_ready)
        assert ready.address == "http://127.0.0.1:1"
        await discovery.delete(key)
        (silent,) = await until_replicas(engine, lambda rs: rs[0].state is ReplicaState.UNREADY)
        assert silent.reason is Reason.CONTACT_LOST
        assert silent.pid == replica.pid
        await discovery.put(key, encode_status(with_fields(status, state="ready")))
        (back,) = await until_replicas(engine, all_ready)
        assert (back.pid, back.restarts) == (replica.pid, 0)
        await discovery.close()
        await engine.stop(stop_graphs=True)


def test_a_shim_is_small(tmp_path: Path) -> None:
    """Resident memory of a quiet shim, from a real one."""

    async def measure() -> tuple[int, float]:
        async with Engine(where(tmp_path)) as engine:
            await engine.submit(submission(graph(tmp_path, service("Only"))), actor="user:0")
            await until_state(engine, "demo", "ready")
            (replica,) = await replicas(engine)
            record = read_run(where(tmp_path).replica_dir(replica.id), 1)
            assert record is not None
            shim = psutil.Process(record.shim_pid)
            cpu = sum(shim.cpu_times()[:2])
            size = shim.memory_info().rss
            await asyncio.sleep(0.5)
            used = sum(shim.cpu_times()[:2]) - cpu
            await engine.stop(stop_graphs=True)
            return size, used

    size, used = asyncio.run(measure())
    assert size <= 12 * 1024 * 1024
    assert used <= 0.01
