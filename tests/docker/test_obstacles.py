"""What stands in a deployment's way: its reason is shown, and the deployment recovers by itself once it has gone."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import docker
from tests.docker_engine import OwnEngine
from tests.e2e import conftest as e2e
from tests.e2e.commands import EXAMPLES, Home, until

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker"), pytest.mark.timeout(900)]

IMAGE = "dynamod-test/obstacles:1"
DISK = 700 << 20
REASON_S = 60.0
home = e2e.home


@pytest.fixture
def own() -> Iterator[OwnEngine]:
    directory = Path(tempfile.mkdtemp(prefix="dk-"))
    engine = OwnEngine(directory, DISK)
    try:
        engine.start()
        yield engine
    finally:
        engine.close()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Meanwhile somebody writes whenever there is room, as on a disk that is full there always is."""
    over = threading.Event()

    def fill() -> None:
        with (disk / "ballast").open("wb", buffering=0) as ballast:
            while not over.wait(0.002):
                with suppress(OSError):
                    while ballast.write(bytes(1 << 16)) == 1 << 16 and not over.is_set():
                        pass

    writer = threading.Thread(target=fill)
    writer.start()
    try:
        until(lambda: os.statvfs(disk).f_bavail == 0, what="a full disk")
        yield
    finally:
        over.set()
        writer.join()
        (disk / "ballast").unlink()


class Deployment:
    """Hello world as containers of an engine of its own."""

    def __init__(self, home: Home, own: OwnEngine) -> None:
        self.home, self.own = home, own

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(self.own.address, timeout=60)

    def containerize(self, base_image: str) -> None:
        self.home.run("containerize", "hello:1", "--image", IMAGE, "--base-image", base_image)

    def graph(self) -> dict[str, Any]:
        found: dict[str, Any] = self.home.json("describe", "hello")["graph"]
        return found

    def replica(self, service: str) -> dict[str, Any]:
        found = json.loads(self.home.run("ps", "--json").stdout)
        return next(replica for replica in found if replica["service"] == service)

    def kill(self, service: str) -> None:
        container = self.client().containers.get(f"dynamo-{self.replica(service)['id']}")
        container.kill()

    def is_ready(self) -> bool:
        return bool(self.graph()["state"] == "ready")

    def await_reason(self, service: str, reason: str) -> dict[str, Any]:
        """The service's replica, once it shows that reason."""
        deadline = time.monotonic() + REASON_S
        while (found := self.replica(service))["reason"] != reason:
            assert time.monotonic() < deadline, f"it does not show {reason}, but {found}"
            time.sleep(0.1)
        return found


@pytest.fixture
def deployment(engine: docker.DockerClient, base_image: str, home: Home, own: OwnEngine) -> Deployment:
    own.load(engine, base_image)
    home.extra["DOCKER_HOST"] = own.address
    project = shutil.copytree(EXAMPLES / "hello_world", home.path / "project")
    home.run("build", "hello_world:Frontend", "-t", "hello:1", cwd=project)
    home.run("deploy", "hello:1", "--target", "docker", "-n", "hello", "-p", "0", "--no-wait")
    return Deployment(home, own)


def test_causes_come_and_go(deployment: Deployment, base_image: str) -> None:
    own, home = deployment.own, deployment.home

    # Nobody has made the image yet.
    assert "dynamoctl containerize" in deployment.await_reason("Backend", "image_unavailable")["message"]
    assert deployment.graph()["reason"] == "image_unavailable"
    deployment.containerize(base_image)
    until(deployment.is_ready, what="recovery once the image was there")

    # The engine's disk is full.
    with filled(own.data):
        deployment.kill("Backend")
        deployment.await_reason("Backend", "disk_full")
    until(deployment.is_ready, what="recovery once there was room")

    # The engine is killed, and takes its containers down when it comes back.
    own.kill()
    deployment_pid = deployment.replica("Frontend")["pid"]
    os.kill(deployment_pid, 9)
    deployment.await_reason("Frontend", "backend_unreachable")
    own.start()
    until(deployment.is_ready, what="recovery once the engine was back", timeout=300)

    # It goes away again, and the daemon with it; the next one waits for it.
    own.kill()
    home.run("daemon", "stop")
    home.run("daemon", "start")
    until(lambda: deployment.replica("Frontend")["state"] == "lost", what="what cannot be proved")
    assert deployment.replica("Frontend")["reason"] == "backend_unreachable"
    home.run("rm", "hello", "--no-wait")
    own.start()
    home.run("rm", "hello", code=None)
    until(lambda: not deployment.client().containers.list(all=True), what="removal of everything")
    until(
        lambda: not [n for n in deployment.client().networks.list() if n.name.startswith("dynamo-")],
        what="removal of the network",
    )
