"""Replicas in real control groups. What this machine's hierarchy does not allow is skipped, and says so."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from dynamod.drivers import cgroups
from dynamod.drivers.base import Driver, Ended, Launch, Limits, Running
from dynamod.drivers.cgroups import Cgroups, open_cgroups
from dynamod.drivers.process import ProcessDriver
from dynamod.schema import locations
from tests.conformance.subjects import DEADLINE, Ends

SLEEP_ELSEWHERE = "setsid sh -c 'echo $$ > left; unset DYN_REPLICA_ID; exec sleep 1000' &"
HOG = "data = []\nwhile True:\n    data.append(bytearray(8 << 20))"


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[Cgroups]:
    found = open_cgroups(locations(tmp_path).state_dir)
    if found.parent is None:
        pytest.skip(f"REAL CONTROL GROUPS ARE NOT TESTED: {found.lacking}")
    yield found
    found.tidy()


@pytest.fixture
def limiting(groups: Cgroups) -> Cgroups:
    if not {"cpu", "memory"} <= groups.limits:
        pytest.skip(f"LIMITS ARE NOT TESTED: {groups.lacking}")
    return groups


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
async def driver(tmp_path: Path, ends: Ends, groups: Cgroups) -> AsyncIterator[ProcessDriver]:
    driver = ProcessDriver(locations(tmp_path), ends, groups=groups)
    yield driver
    await driver.close()


def launch(base: Path, script: str, limits: Limits | None = None, *, python: bool = False) -> Launch:
    argv = [sys.executable, "-c", script] if python else ["/bin/sh", "-c", script]
    env = {"PATH": "/usr/bin:/bin", "DYN_REPLICA_ID": f"{base}-a"}
    return Launch("a", 1, argv, env, str(base), limits=limits or Limits())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return True


async def started(driver: Driver, what: Launch) -> tuple[Running, int]:
    """It, and the process that it has put out of its process group and without its name."""
    running = await driver.start(what)
    left = Path(what.directory) / "left"
    await until(lambda: left.exists() and left.read_text().strip())
    return running, int(left.read_text())


async def test_a_replica_is_born_in_its_group_and_its_shim_is_not(
    tmp_path: Path, driver: ProcessDriver, ends: Ends, groups: Cgroups
) -> None:
    running, left = await started(driver, launch(tmp_path, f"{SLEEP_ELSEWHERE} exec sleep 1000"))
    assert groups.parent is not None
    group = groups.parent / "a-1"
    assert {running.pid, left} <= set(cgroups.members(group))
    shim = int(Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert shim not in cgroups.members(group)
    driver.kill("a")
    assert (await ends.of("a")).signal == signal.SIGKILL
    assert gone(left)
    assert not group.exists()


async def test_what_left_its_process_group_ends_with_the_replica(
    tmp_path: Path, driver: ProcessDriver, ends: Ends
) -> None:
    _, left = await started(driver, launch(tmp_path, f"{SLEEP_ELSEWHERE} while [ ! -s left ]; do sleep 0.01; done"))
    assert (await ends.of("a")).code == 0
    assert gone(left)


async def test_a_replica_whose_shim_was_killed_is_ended_with_all_its_processes(
    tmp_path: Path, driver: ProcessDriver, ends: Ends
) -> None:
    running, left = await started(driver, launch(tmp_path, f"{SLEEP_ELSEWHERE} exec sleep 1000"))
    os.kill(int(Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    assert (await ends.of("a")).detail
    assert gone(running.pid)
    assert gone(left)


async def test_a_restarted_engine_kills_what_ended_meanwhile_left_behind(
    tmp_path: Path, driver: ProcessDriver, ends: Ends, groups: Cgroups
) -> None:
    """The shim clears the group; a group that is still there at recovery is removed."""
    running, _ = await started(driver, launch(tmp_path, f"{SLEEP_ELSEWHERE} exec sleep 1000"))
    await driver.close()
    os.kill(running.pid, signal.SIGKILL)
    await until(lambda: (tmp_path / "replicas" / "a" / "exit-1.json").exists())
    assert groups.parent is not None
    await until(lambda: not groups.parent.exists())  # the shim leaves nothing, with or without an engine
    again = ProcessDriver(locations(tmp_path), ends, groups=groups)
    assert isinstance(await again.recover("a", 1), Ended)
    assert groups.parent is not None
    assert not (groups.parent / "a-1").exists()
    await again.close()


async def test_more_memory_than_allowed_is_told_as_out_of_memory(
    tmp_path: Path, driver: ProcessDriver, ends: Ends, limiting: Cgroups
) -> None:
    """Of the whole replica: also when it is a child that asks for too much."""
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', '''{HOG}'''])\nwhile True: pass"
    for script in (HOG, child):
        await driver.start(launch(tmp_path, script, Limits(memory=64 << 20), python=True))
        ended = await ends.of("a")
        assert ended.signal == signal.SIGKILL
        assert ended.oom_kills > 0


async def test_a_plain_kill_in_a_limited_group_is_no_want_of_memory(
    tmp_path: Path, driver: ProcessDriver, ends: Ends, limiting: Cgroups
) -> None:
    running = await driver.start(launch(tmp_path, "exec sleep 1000", Limits(memory=64 << 20, cpu=0.5)))
    os.kill(running.pid, signal.SIGKILL)
    ended = await ends.of("a")
    assert (ended.signal, ended.oom_kills) == (signal.SIGKILL, 0)


async def test_cpu_beyond_the_limit_is_throttled(
    tmp_path: Path, driver: ProcessDriver, ends: Ends, limiting: Cgroups
) -> None:
    await driver.start(launch(tmp_path, "while True: pass", Limits(cpu=0.1), python=True))
    assert limiting.parent is not None
    stat = limiting.parent / "a-1" / "cpu.stat"

    def throttled() -> int:
        return int(dict(line.split() for line in stat.read_text().splitlines())["nr_throttled"])

    await until(lambda: throttled() > 3)
    driver.kill("a")
    await ends.of("a")
