"""A real Docker engine, and a base image with Python that needs no registry.

The engine is the one of the environment. Where none answers, and where the tools for tests are there (in
`DYN_TEST_TOOLS`, or beside the checkout), they start one. Else every test here is skipped, and says so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from docker import DockerClient

TOOLS = Path(os.environ.get("DYN_TEST_TOOLS") or Path(__file__).parents[2] / "shared" / "tools")
BASE_IMAGE = os.environ.get("DYN_TEST_BASE_IMAGE", "dynamod/python-base:test")


def _listens() -> bool:
    """Whether somebody is at the default socket. A Docker client that finds nobody there leaks its sockets."""
    if "DOCKER_HOST" in os.environ:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex("/var/run/docker.sock") == 0


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    """A client of the engine."""
    docker = pytest.importorskip("docker", reason="the Docker SDK is not installed: pip install 'dynamod[docker]'")
    if not _listens():
        start = TOOLS / "docker" / "engine"
        if not start.is_file():
            pytest.skip(f"NO DOCKER ENGINE answers, and there is no {start} to start one")
        started = subprocess.run([start, "--default"], capture_output=True, text=True, timeout=300, check=False)
        if started.returncode != 0:
            pytest.skip(f"NO DOCKER ENGINE can be started here: {started.stderr[-300:]}")
    client = docker.from_env(timeout=120)
    client.ping()
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine: DockerClient) -> str:
    """An image with this Python, pip and a shell."""
    if not engine.images.list(name=BASE_IMAGE):
        make = TOOLS / "docker" / "base-image"
        if not make.is_file():
            pytest.skip(f"there is no image {BASE_IMAGE}: name one with Python and pip in DYN_TEST_BASE_IMAGE")
        subprocess.run([make, BASE_IMAGE], check=True, capture_output=True, timeout=300)
    return BASE_IMAGE


class OwnEngine:
    """An engine that a test may fill up, kill and start again. Its data is in memory, and has `size` bytes."""

    def __init__(self, directory: Path, size: int) -> None:
        self.directory = directory
        self.address = f"unix://{directory}/docker.sock"
        self.data = directory / "data"
        self.data.mkdir(parents=True)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.data],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode != 0:
            pytest.skip(f"NO SMALL DISK can be made here: {mounted.stderr.strip()}")

    def start(self) -> None:
        """Returns once it answers."""
        tool = TOOLS / "docker" / "engine"
        if not tool.is_file():
            pytest.skip(f"NO SECOND DOCKER ENGINE: there is no {tool} to start one")
        bridge = _default_bridge()
        started = subprocess.run([tool, self.directory], capture_output=True, text=True, timeout=120, check=False)
        if bridge and not _default_bridge():
            _make_default_bridge(bridge)
        if started.returncode != 0:
            pytest.skip(f"NO SECOND DOCKER ENGINE can be started here: {started.stdout[-300:]}")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the engine, and wait until it has gone."""
        record = self.directory / "dockerd.pid"
        if not record.exists():
            return
        pid = int(record.read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            deadline = time.monotonic() + 30
            while Path(f"/proc/{pid}/root").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        record.unlink(missing_ok=True)

    def load(self, source: DockerClient, image: str) -> None:
        """Copy an image of another engine."""
        import docker

        client = docker.DockerClient(self.address, timeout=120)
        client.images.load(b"".join(source.images.get(image).save(named=True)))
        client.close()

    def close(self) -> None:
        """End it and what it started, and give the memory back."""
        self.kill(signal.SIGTERM)
        for mount in sorted(_mounts_below(self.directory), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)


def _default_bridge() -> str:
    """The address of the first engine's bridge, with its prefix length; empty where there is none.

    An engine with a bridge of its own removes the default one when it starts, and the first engine's containers with it
    from the network.
    """
    shown = subprocess.run(
        ["ip", "-4", "-o", "addr", "show", "docker0"], capture_output=True, text=True, timeout=10, check=False
    ).stdout.split()
    return shown[3] if len(shown) > 3 else ""


def _make_default_bridge(address: str) -> None:
    for words in ("link add docker0 type bridge", f"addr add {address} brd + dev docker0", "link set docker0 up"):
        subprocess.run(["ip", *words.split()], check=True, timeout=10)


def _mounts_below(directory: Path) -> list[str]:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [mount for mount in mounts if mount.startswith(f"{directory}/")]
