"""What the suite must know of each driver: how one is made, and how to turn a shell script into what it starts."""

from __future__ import annotations

import asyncio
import os
import signal
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dynamod.drivers.base import Container, Driver, Ended, Launch, Limits, Running
from dynamod.drivers.cgroups import NO_CGROUPS, Cgroups
from dynamod.drivers.docker import DockerDriver
from dynamod.drivers.docker_containers import REPLICA_LABEL
from dynamod.drivers.docker_networks import NETWORK_LABEL
from dynamod.drivers.process import ProcessDriver
from dynamod.schema import locations

if TYPE_CHECKING:
    from docker import DockerClient

DEADLINE = 30.0
IMAGE = "dynamod-test/shell:1"
DOCKERFILE = """\
FROM {base}
RUN printf '#!/usr/local/bin/python3\\nimport sys, time\\ntime.sleep(float(sys.argv[1]))\\n' > /usr/bin/sleep
RUN printf '#!/usr/local/bin/python3\\nimport pathlib, sys\\npathlib.Path(sys.argv[1]).touch()\\n' > /usr/bin/touch
RUN python3 -c "import os; [os.chmod('/usr/bin/' + name, 0o755) for name in ('sleep', 'touch')]"
"""


class Ends:
    """Collects what a driver tells of ends, in order."""

    def __init__(self) -> None:
        self.seen: dict[str, Ended] = {}
        self._changed = asyncio.Event()

    def __call__(self, replica_id: str, ended: Ended) -> None:
        self.seen[replica_id] = ended
        self._changed.set()

    async def of(self, replica_id: str) -> Ended:
        async with asyncio.timeout(DEADLINE):
            while replica_id not in self.seen:
                self._changed.clear()
                await self._changed.wait()
        return self.seen.pop(replica_id)


class Subject(Protocol):
    base: Path

    def make(self, ends: Ends) -> Driver:
        """A driver over the state in `base`. Made twice over the same base, it is the engine after a restart."""
        ...

    def launch(self, replica_id: str, run: int, script: str, *, memory: int | None = None) -> Launch: ...

    async def kill_abruptly(self, running: Running) -> None:
        """End the replica's main process from outside, by SIGKILL."""
        ...

    def leftovers(self) -> list[str]:
        """What is there besides files: processes, containers, networks."""
        ...

    async def clear(self) -> None:
        """Remove whatever a test left."""
        ...


class ProcessSubject:
    def __init__(self, base: Path, groups: Cgroups = NO_CGROUPS) -> None:
        self.base = base
        self._groups = groups

    def make(self, ends: Ends) -> Driver:
        return ProcessDriver(locations(self.base), ends, groups=self._groups)

    def launch(self, replica_id: str, run: int, script: str, *, memory: int | None = None) -> Launch:
        env = {"PATH": "/usr/bin:/bin", "DYN_REPLICA_ID": f"{self.base}-{replica_id}", "WORD": "hello"}
        return Launch(replica_id, run, ["/bin/sh", "-c", script], env, str(self.base), limits=Limits(memory=memory))

    async def kill_abruptly(self, running: Running) -> None:
        os.kill(running.pid, signal.SIGKILL)

    def leftovers(self) -> list[str]:
        mine = f"DYN_REPLICA_ID={self.base}-".encode()
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if mine in (directory / "environ").read_bytes():
                    found.append(directory.name)
            except OSError:
                continue
        return found

    async def clear(self) -> None:
        for pid in self.leftovers():
            os.kill(int(pid), signal.SIGKILL)
        self._groups.tidy()


class DockerSubject:
    def __init__(self, base: Path, engine: DockerClient, base_image: str) -> None:
        self.base = base
        self.engine = engine
        self._state = str(locations(base).state_dir)
        if not engine.images.list(name=IMAGE):
            engine.images.build(fileobj=BytesIO(DOCKERFILE.format(base=base_image).encode()), tag=IMAGE, rm=True)

    def make(self, ends: Ends) -> Driver:
        where = locations(self.base)
        where.run_dir.mkdir(parents=True, exist_ok=True)
        return DockerDriver(where, ends, mounts=[self.base])

    def launch(self, replica_id: str, run: int, script: str, *, memory: int | None = None) -> Launch:
        container = Container(image=IMAGE, memory=memory, network=f"dynamo-{self.base.name}", alias="shell")
        return Launch(replica_id, run, ["/bin/sh", "-c", script], {"WORD": "hello"}, str(self.base), container)

    async def kill_abruptly(self, running: Running) -> None:
        await asyncio.to_thread(self.engine.api.kill, running.container, "SIGKILL")

    def leftovers(self) -> list[str]:
        kinds = ((self.engine.containers.list(all=True), REPLICA_LABEL), (self.engine.networks.list(), NETWORK_LABEL))
        return [
            str(found.name)
            for there, label in kinds
            for found in there
            if ((found.attrs.get("Config") or found.attrs)["Labels"] or {}).get(label, "").startswith(f"{self._state}/")
        ]

    async def clear(self) -> None:
        for container in self.engine.containers.list(all=True, filters={"label": REPLICA_LABEL}):
            if container.labels[REPLICA_LABEL].startswith(f"{self._state}/"):
                container.remove(force=True)
        for network in self.engine.networks.list(filters={"label": NETWORK_LABEL}):
            if network.attrs["Labels"][NETWORK_LABEL].startswith(f"{self._state}/"):
                network.remove()
