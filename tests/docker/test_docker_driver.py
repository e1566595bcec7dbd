"""What only the Docker driver has: images, limits, networks, and an engine that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

import docker
from dynamod.drivers.base import Container, Driver, Ended, Launch, LaunchError, Obstacle, Running
from dynamod.drivers.docker import DockerDriver
from dynamod.schema import locations
from dynamod.schema.states import Reason
from tests.conformance.subjects import IMAGE, DockerSubject, Ends

pytestmark = [
    pytest.mark.docker,
    pytest.mark.xdist_group("docker"),
    # The SDK leaves the sockets of streams that ended to the garbage collector; the driver closes what it can reach.
    pytest.mark.filterwarnings("ignore:unclosed <socket.*docker.sock:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket.*docker.sock:pytest.PytestUnraisableExceptionWarning"
    ),
]
FOREVER = "exec sleep 1000"


@pytest.fixture
async def subject(engine: docker.DockerClient, base_image: str, tmp_path: Path) -> AsyncIterator[DockerSubject]:
    made = DockerSubject(tmp_path, engine, base_image)
    yield made
    await made.clear()


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
async def driver(subject: DockerSubject, ends: Ends) -> AsyncIterator[Driver]:
    driver = subject.make(ends)
    yield driver
    await driver.close()


def launch(container: Container, script: str = FOREVER, replica_id: str = "a") -> Launch:
    return Launch(replica_id, 1, ["/bin/sh", "-c", script], {}, "", container)


async def test_output_is_stored_once_over_a_restart_of_the_engine(subject: DockerSubject, driver: Driver) -> None:
    await driver.start(launch(Container(image=IMAGE), "echo one; echo two >&2; sleep 3; echo three"))
    await until(lambda: b"two" in log(subject.base))
    await driver.close()
    ends = Ends()
    second = subject.make(ends)
    assert isinstance(await second.recover("a", 1), Running)
    assert (await ends.of("a")).code == 0
    assert sorted(log(subject.base).split()) == [b"one", b"three", b"two"]
    await second.close()


async def test_a_container_that_was_removed_has_ended(subject: DockerSubject, driver: Driver, ends: Ends) -> None:
    running = await driver.start(launch(Container(image=IMAGE)))
    await asyncio.to_thread(subject.engine.api.remove_container, running.container, force=True)
    ended = await ends.of("a")
    assert (ended.run, ended.code in (None, 137)) == (1, True)
    again = subject.make(Ends())
    assert isinstance(await again.recover("a", 1), Ended)
    await again.close()


@pytest.mark.parametrize(
    ("container", "words"),
    [
        (Container(build="0" * 64), "dynamoctl containerize 000000000000"),
        (Container(image="127.0.0.1:9/none:1"), "image 127.0.0.1:9/none:1 is not here and cannot be pulled: .*refused"),
    ],
)
async def test_an_image_that_is_missing_is_an_obstacle(driver: Driver, container: Container, words: str) -> None:
    with pytest.raises(Obstacle, match=words) as refused:
        await driver.start(launch(container))
    assert refused.value.reason is Reason.IMAGE_UNAVAILABLE


async def test_no_image_at_all_is_a_mistake(driver: Driver) -> None:
    with pytest.raises(LaunchError, match="it has no image") as refused:
        await driver.start(launch(Container()))
    assert not isinstance(refused.value, Obstacle)


async def test_limits_and_privileges(subject: DockerSubject, driver: Driver, ends: Ends) -> None:
    running = await driver.start(launch(Container(image=IMAGE, memory=64 << 20, cpu=0.5)))
    config = (await asyncio.to_thread(subject.engine.api.inspect_container, running.container))["HostConfig"]
    assert (config["Memory"], config["MemorySwap"], config["NanoCpus"]) == (64 << 20, 64 << 20, 500_000_000)
    assert config["PidsLimit"] == 8192
    assert config["CapDrop"] == ["ALL"]
    assert config["RestartPolicy"]["Name"] in ("", "no")
    assert config["NetworkMode"] == "host"
    driver.kill("a")
    await ends.of("a")


async def test_gpus_are_asked_for_by_uuid(subject: DockerSubject, driver: Driver) -> None:
    """No engine here has any: it says so, of a container that was made with the request."""
    with pytest.raises(LaunchError, match=r"gpu|nvidia"):
        await driver.start(launch(Container(image=IMAGE, gpus=("GPU-1", "GPU-2"))))
    assert subject.leftovers() == []


async def test_a_graph_has_a_network_of_its_own(subject: DockerSubject, driver: Driver, ends: Ends) -> None:
    serve = "exec python3 -c 'import socket, time; s = socket.create_server((\"\", 7000)); time.sleep(1000)'"
    ask = "import socket, sys; socket.create_connection((sys.argv[1], 7000), 3)"
    for name, network in (("a", "dynamo-one"), ("b", "dynamo-one"), ("c", "dynamo-two")):
        container = Container(image=IMAGE, network=f"{network}-{subject.base.name}", alias=f"service-{name}")
        await driver.start(launch(container, serve, name))
    here = launch(Container(), replica_id="b")
    await until_async(lambda: succeeds(driver, here, "service-a", ask))
    assert not await succeeds(driver, launch(Container(), replica_id="c"), driver.host_of("a"), ask)
    assert not await succeeds(driver, launch(Container(), replica_id="c"), "service-a", ask)
    for name in "abc":
        driver.kill(name)
        await ends.of(name)
        await driver.remove(name)
    assert subject.leftovers() == []


async def test_what_an_engine_that_died_did_not_remove_is_swept(subject: DockerSubject, driver: Driver) -> None:
    network = f"dynamo-{subject.base.name}"
    await driver.start(launch(Container(image=IMAGE, network=network), replica_id="forgotten"))
    await driver.start(launch(Container(image=IMAGE), replica_id="known"))
    await driver.close()
    again = DockerDriver(locations(subject.base), Ends())
    await again.sweep({"known"})
    assert subject.leftovers() == ["dynamo-known"]
    await again.close()


async def succeeds(driver: Driver, beside: Launch, host: str, script: str) -> bool:
    code, _ = await driver.execute(beside, ["python3", "-c", script, host])
    return code == 0


def log(base: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(locations(base).replica_dir("a").rglob("*.log")))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)


async def until_async(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.05)
