"""`POST /v1/builds/{build}/containerize`: steps as they come, one image for one request, and no work for nobody."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator

import pytest

import docker
from dynamo_tui.client import streams
from dynamo_tui.client.contexts import Context
from dynamo_tui.client.errors import ApiError
from dynamo_tui.client.sync import Client
from dynamod.schema import locations
from dynamod.schema.builds import BuiltImage, ContainerizeRequest, ImageStep
from tests.e2e import conftest as e2e
from tests.e2e.commands import EXAMPLES, Home, until

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]

IMAGE = "dynamod-test/made-there:1"
home = e2e.home


@pytest.fixture
def client(home: Home, engine: docker.DockerClient) -> Iterator[Client]:
    """Of a daemon that keeps hello world."""
    home.run("daemon", "start")
    project = shutil.copytree(EXAMPLES / "hello_world", home.path / "project")
    home.run("build", "hello_world:Frontend", "-t", "hello:1", cwd=project)
    with Client(Context(name="test", socket=str(locations(home.path / "state").api_socket))) as made:
        yield made
    if engine.images.list(name=IMAGE):
        engine.images.remove(IMAGE, force=True)


def image(client: Client, request: ContainerizeRequest, build: str = "hello:1") -> tuple[list[str], BuiltImage]:
    steps: list[str] = []
    with client.stream(streams.containerize(build, request)) as told:
        for one in told:
            if isinstance(one, ImageStep):
                steps.append(one.step)
            else:
                return steps, one
    raise AssertionError("no image")


def test_steps_are_streamed_and_the_same_request_makes_the_same_image(
    client: Client, engine: docker.DockerClient, base_image: str, home: Home
) -> None:
    request = ContainerizeRequest(image=IMAGE, base_image=base_image, labels={"team": "tests"})
    steps, made = image(client, request)
    assert any("COPY src" in step for step in steps)
    assert made.image == IMAGE
    assert engine.images.get(IMAGE).id == made.id
    _, again = image(client, request)
    assert again.id == made.id
    printed = home.json(
        "containerize", "hello:1", "--image", IMAGE, "--base-image", base_image, "--label", "team=tests"
    )
    assert printed["id"] == made.id
    assert "image dynamod-test/made-there:1" in home.run("events").stdout


def test_refusals_arrive_as_problems(client: Client) -> None:
    with pytest.raises(ApiError, match="there is no build"):
        image(client, ContainerizeRequest(), build="nothing:1")
    with pytest.raises(ApiError, match="is no name of an image"):
        image(client, ContainerizeRequest(image="No Name"))
    with pytest.raises(ApiError, match=r"cannot be pulled|--base-image"):
        image(client, ContainerizeRequest(image=IMAGE, base_image="127.0.0.1:9/none:1"))


def test_who_leaves_ends_the_work(client: Client, engine: docker.DockerClient, base_image: str, home: Home) -> None:
    request = ContainerizeRequest(image=IMAGE, base_image=base_image, labels={"left": str(time.time())})
    stream = client.stream(streams.containerize("hello:1", request))
    reader = threading.Thread(target=lambda: next(iter(stream)))
    reader.start()
    reader.join(60)
    assert programs(home)
    stream.close()
    until(lambda: not programs(home), what="the end of the work")
    assert not engine.images.list(name=IMAGE)


def programs(home: Home) -> list[int]:
    """The processes of this home's daemon that make images."""
    import psutil

    state = str(home.path)
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "environ"])
        if "dynamod.builds.containerize" in (process.info["cmdline"] or [])
        and (process.info["environ"] or {}).get("HOME") == state
    ]
