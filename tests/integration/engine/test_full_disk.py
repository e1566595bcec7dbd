"""A state directory on a small file system of its own, which is really full. Needs root, to mount it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from dynamod.api.rules import guard_rules
from dynamod.core.errors import DiskFull
from dynamod.drivers import logfile, shim
from dynamod.drivers.identity import read_exit
from dynamod.engine import Engine, EngineOptions
from dynamod.schema import Replica, ReplicaState
from dynamod.schema.locations import Locations
from dynamod.serving import serving
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
from tests.unit.dynamod.builds.making import make_archive


class Disk:
    """The file system that the state directory is."""

    def __init__(self, places: Locations) -> None:
        self.places = places
        self.filler = places.state_dir / "filler"

    def fill(self) -> None:
        with self.filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 4096)

    def make_room(self) -> None:
        self.filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    places = where(tmp_path)
    places.state_dir.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "none", str(places.state_dir)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system needs root")
    yield Disk(places)
    subprocess.run(["umount", "--lazy", str(places.state_dir)], check=True, capture_output=True)


async def test_a_full_disk_refuses_changes_and_loses_no_exit_code(disk: Disk, tmp_path: Path) -> None:
    talk = "while True: time.sleep(0.02); print('x' * 5000, flush=True)"
    spec = graph(tmp_path, service("A", envs={"THEN": talk}))
    async with Engine(disk.places) as engine:
        await engine.submit(submission(spec), actor="test")
        first = (await until_replicas(engine, all_ready))[0]
        disk.fill()
        with pytest.raises(DiskFull, match="make room"):
            await engine.scale("default", "demo", "A", 3, actor="test")
        await asyncio.sleep(0.5)  # its output finds no room, either
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        disk.make_room()

        def again(found: list[Replica]) -> bool:
            return all_ready(found) and found[0].pid != first.pid

        after = (await until_replicas(engine, again))[0]
        assert after.last_exit is not None
        assert after.last_exit.signal == "SIGKILL"
        directory = disk.places.replica_dir(after.id)
        assert read_exit(directory, 1) is not None
        events = (await engine.events(0, 1000)).items
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        log = Path(logfile.log_dir(str(directory))) / logfile.segment_name(0)
        assert re.search(r"^\.\.\. \d+ bytes of output were dropped: the disk was full$", log.read_text(), re.MULTILINE)
        await engine.remove("default", "demo", actor="test")


async def test_a_replica_whose_start_cannot_be_recorded_does_not_run(disk: Disk, tmp_path: Path) -> None:
    spec = graph(tmp_path, service("A"))
    async with Engine(disk.places) as engine:
        await engine.submit(submission(spec), actor="test")
        await until_replicas(engine, all_ready)
        directory = disk.places.replica_dir((await replicas(engine))[0].id)
        await engine.stop(stop_graphs=True)
    launch = directory / "launch-9"
    launch.write_bytes(b"\0".join([b"/", b"/bin/sleep", b"60"]))
    disk.fill()
    command = [sys.executable, "-I", "-S", "-c", shim.BOOT, str(Path(shim.__file__).parents[2]), str(directory), "9"]
    done = subprocess.run(command, timeout=30, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (directory / "run-9.json").exists()
    disk.make_room()
    async with Engine(disk.places) as engine:
        await engine.start_graph("default", "demo", actor="test")
        await until_state(engine, "demo", "ready")
        assert {r.state for r in await replicas(engine)} == {ReplicaState.READY}
        await engine.remove("default", "demo", actor="test")


async def test_over_rest_a_full_disk_is_507(disk: Disk, tmp_path: Path) -> None:
    archive = make_archive(tmp_path, {"m.py": "A = 1\n"}).read_bytes()
    options = EngineOptions(environ={"PATH": "/usr/bin:/bin"})
    async with serving(disk.places, options, guard_rules(None), on_shutdown=lambda _: None) as running:
        await running.open_face()
        transport = httpx.AsyncHTTPTransport(uds=str(disk.places.api_socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
            disk.fill()
            refused = await client.post("/v1/builds", content=archive, headers={"Content-Type": "application/gzip"})
            assert (refused.status_code, refused.json()["type"]) == (507, "urn:dynamod:problem:disk-full")
            assert "make room" in refused.json()["remedy"]
            disk.make_room()
            kept = await client.post("/v1/builds", content=archive, headers={"Content-Type": "application/gzip"})
            assert kept.status_code == 201
