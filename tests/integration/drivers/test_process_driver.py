"""What only the process driver has: launch files, locks, and replicas that are tied to their engine."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

import pytest

from dynamod.drivers.base import LaunchError, NeverStarted, Unproved
from dynamod.drivers.process import ProcessDriver
from dynamod.drivers.shim import ORPHAN_SECONDS
from dynamod.schema import locations
from tests.conformance.subjects import Ends, ProcessSubject


async def test_a_launch_that_was_cut_off_can_never_happen(tmp_path: Path) -> None:
    """The engine died between writing the launch file and starting the shim; a late shim must find nothing."""
    directory = locations(tmp_path).replica_dir("a")
    directory.mkdir(parents=True)
    (directory / "launch-3").write_bytes(b"\0/bin/sh\0-c\0exit 0")
    driver = ProcessSubject(tmp_path).make(Ends())
    assert await driver.recover("a", 3) == NeverStarted(3)
    assert not (directory / "launch-3").exists()
    await driver.close()


async def test_a_held_lock_proves_nothing_and_blocks_a_start(tmp_path: Path) -> None:
    directory = locations(tmp_path).replica_dir("a")
    directory.mkdir(parents=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    driver = ProcessSubject(tmp_path).make(Ends())
    try:
        assert isinstance(await driver.recover("a", 1), Unproved)
        with pytest.raises(LaunchError, match="another copy"):
            await driver.start(ProcessSubject(tmp_path).launch("a", 2, "exit 0"))
    finally:
        os.close(lock)
        await driver.close()


async def test_a_tied_replica_that_ignores_the_end_of_its_engine_is_killed(tmp_path: Path) -> None:
    driver = ProcessDriver(locations(tmp_path), Ends(), tied=True)
    running = await driver.start(ProcessSubject(tmp_path).launch("a", 1, "trap '' TERM; while :; do sleep 0.1; done"))
    await driver.close()  # its end of the pipe closes, as when the process dies
    async with asyncio.timeout(ORPHAN_SECONDS + 20):
        while Path(f"/proc/{running.pid}/root").is_dir():
            await asyncio.sleep(0.05)
