"""A build deployed as containers by a real daemon: answers, a killed container, a restarted daemon, nothing left."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import docker
from dynamod.drivers.docker_containers import REPLICA_LABEL
from tests.e2e import conftest as e2e
from tests.e2e.commands import EXAMPLES, Home

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]

IMAGE = "dynamod-test/deployed:1"
DEADLINE_S = 60.0
home = e2e.home


@pytest.fixture
def image(engine: docker.DockerClient, base_image: str, home: Home) -> Iterator[str]:
    """Hello world is built in this home, and its image made; the image goes at the end."""
    project = home.path / "project"
    shutil.copytree(EXAMPLES / "hello_world", project)
    home.run("build", "hello_world:Frontend", "-t", "hello:1", cwd=project)
    made = home.json("containerize", "hello:1", "--image", IMAGE, "--base-image", base_image)
    assert made["image"] == IMAGE
    yield IMAGE
    for left in mine(engine, home):
        left.remove(force=True)
    engine.images.remove(IMAGE, force=True)


def mine(engine: docker.DockerClient, home: Home) -> list[docker.models.containers.Container]:
    """The containers of this home's daemon, and of no other."""
    state = str(home.path / "state")
    found = engine.containers.list(all=True, filters={"label": REPLICA_LABEL})
    return [one for one in found if one.labels[REPLICA_LABEL].startswith(f"{state}/")]


def answer(address: str) -> str:
    request = urllib.request.Request(
        f"{address}/generate", json.dumps({"text": "test"}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        text: str = response.read().decode()
        return text


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@pytest.mark.usefixtures("image")
def test_hello_world_runs_as_containers(engine: docker.DockerClient, home: Home) -> None:
    deployed = home.json("deploy", "hello:1", "--target", "docker", "-n", "hello", "-p", "0")
    address = deployed["address"]
    assert answer(address) == "Frontend: Middle: Backend: test-mid-back"
    before = {one.id for one in mine(engine, home)}
    assert len(before) == 3
    home.run("daemon", "stop")
    assert answer(address) == "Frontend: Middle: Backend: test-mid-back"
    home.run("daemon", "start")

    def ready() -> bool:
        return bool(home.json("describe", "hello")["graph"]["state"] == "ready")

    until(ready, "the graph was not taken up again")
    assert {one.id for one in mine(engine, home)} == before
    (middle,) = [one for one in mine(engine, home) if "-middle-" in one.name]
    middle.kill()
    until(lambda: {one.id for one in mine(engine, home) if one.status == "running"} - before, "it was not restarted")
    until(ready, "the graph did not become ready again")
    assert answer(address) == "Frontend: Middle: Backend: test-mid-back"
    assert "Middle is up" in home.run("logs", "hello").stdout
    home.run("deployment", "delete", "hello")
    until(lambda: not mine(engine, home), "containers of a deleted deployment are left")


def test_no_image_and_no_engine_say_what_to_do(home: Home) -> None:
    project = Path(shutil.copytree(EXAMPLES / "hello_world", home.path / "project"))
    refused = home.run("submit", "hello_world:Frontend", "--driver", "docker", cwd=project, code=2)
    assert "without an image" in refused.stderr
    home.run("daemon", "stop")
    home.extra["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    home.run("build", "hello_world:Frontend", "-t", "hello:1", cwd=project)
    refused = home.run("deploy", "hello:1", "--target", "docker", code=None)
    assert "no Docker engine answers at unix:///nowhere/docker.sock" in refused.stderr
