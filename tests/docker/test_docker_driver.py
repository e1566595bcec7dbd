"""The Docker driver against a real engine: the conformance suite of all drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

import docker
from dynamod.drivers.base import Container, Driver, Ended, Launch, LaunchError, Running
from dynamod.drivers.docker import REPLICA_LABEL, DockerDriver
from dynamod.schema import locations
from tests.integration.drivers.conformance import DriverConformance, Ends

pytestmark = [
    pytest.mark.docker,
    pytest.mark.xdist_group("docker"),
    # The SDK leaves the sockets of streams that ended to the garbage collector; the driver closes what it can reach.
    pytest.mark.filterwarnings("ignore:unclosed <socket.*docker.sock:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket.*docker.sock:pytest.PytestUnraisableExceptionWarning"
    ),
]

IMAGE = "dynamod-test/shell:1"
DOCKERFILE = """\
FROM {base}
RUN printf '#!/usr/local/bin/python3\\nimport sys, time\\ntime.sleep(float(sys.argv[1]))\\n' > /usr/bin/sleep
RUN printf '#!/usr/local/bin/python3\\nimport pathlib, sys\\npathlib.Path(sys.argv[1]).touch()\\n' > /usr/bin/touch
RUN python3 -c "import os; [os.chmod('/usr/bin/' + name, 0o755) for name in ('sleep', 'touch')]"
"""


class TestDockerDriver(DriverConformance):
    @pytest.fixture(autouse=True)
    def containers(self, engine: docker.DockerClient, base_image: str, tmp_path: Path) -> Iterator[None]:
        """An image with what the scripts call; what a test leaves of containers goes."""
        self.engine = engine
        try:
            engine.images.get(IMAGE)
        except docker.errors.ImageNotFound:
            engine.images.build(fileobj=BytesIO(DOCKERFILE.format(base=base_image).encode()), tag=IMAGE, rm=True)
        yield
        label = f"{REPLICA_LABEL}={locations(tmp_path).state_dir}/a"
        for left in engine.containers.list(all=True, filters={"label": label}):
            left.remove(force=True)

    def make(self, base: Path, ends: Ends) -> Driver:
        where = locations(base)
        where.run_dir.mkdir(parents=True, exist_ok=True)
        return DockerDriver(where, ends, mounts=[base])

    def launch(self, base: Path, replica_id: str, run: int, script: str) -> Launch:
        container = Container(image=IMAGE)
        return Launch(replica_id, run, ["/bin/sh", "-c", script], {}, str(base), container)

    async def kill_abruptly(self, running: Running) -> None:
        await asyncio.to_thread(self.engine.api.kill, running.container, "SIGKILL")

    async def test_output_is_stored_once_over_a_restart_of_the_engine(self, tmp_path: Path) -> None:
        first = self.make(tmp_path, Ends())
        await first.start(self.launch(tmp_path, "a", 1, "echo one; echo two >&2; sleep 3; echo three"))
        await until(lambda: b"two" in log(tmp_path))
        await first.close()
        ends = Ends()
        second = self.make(tmp_path, ends)
        assert isinstance(await second.recover("a", 1), Running)
        assert (await ends.of("a")).code == 0
        assert sorted(log(tmp_path).split()) == [b"one", b"three", b"two"]
        await second.close()

    async def test_a_container_that_was_removed_has_ended(self, driver: Driver, tmp_path: Path, ends: Ends) -> None:
        running = await driver.start(self.launch(tmp_path, "a", 1, "exec sleep 1000"))
        await asyncio.to_thread(self.engine.api.remove_container, running.container, force=True)
        ended = await ends.of("a")
        assert (ended.run, ended.code in (None, 137)) == (1, True)
        again = self.make(tmp_path, Ends())
        assert isinstance(await again.recover("a", 1), Ended)
        await again.close()

    async def test_an_image_that_is_missing_says_what_to_do(self, driver: Driver, tmp_path: Path) -> None:
        launch = self.launch(tmp_path, "a", 1, "exit 0")
        for container, words in (
            (Container(build="0" * 64), "dynamoctl containerize 000000000000"),
            (Container(image="dynamod-test/none:1"), "No such image"),
            (Container(), "it has no image"),
        ):
            with pytest.raises(LaunchError, match=words):
                await driver.start(Launch("a", 1, launch.argv, {}, "", container))

    async def test_limits_and_privileges(self, driver: Driver, tmp_path: Path, ends: Ends) -> None:
        container = Container(image=IMAGE, memory=64 << 20, cpu=0.5)
        running = await driver.start(Launch("a", 1, ["/bin/sh", "-c", "exec sleep 1000"], {}, "", container))
        config = (await asyncio.to_thread(self.engine.api.inspect_container, running.container))["HostConfig"]
        assert (config["Memory"], config["NanoCpus"]) == (64 << 20, 500_000_000)
        assert config["CapDrop"] == ["ALL"]
        assert config["RestartPolicy"]["Name"] in ("", "no")
        driver.kill("a")
        await ends.of("a")
        await driver.remove("a")
        assert not locations(tmp_path).replica_dir("a").exists()


def log(base: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(locations(base).replica_dir("a").rglob("*.log")))


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)
