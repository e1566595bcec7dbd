from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dynamo.runtime.discovery.local import LocalDiscoveryServer
from dynamo.runtime.discovery.memory import MemoryDiscovery
from dynamo.runtime.keys import replicas_prefix
from dynamo.runtime.status import ReplicaStatus, decode_status

SCOPE = "tests/graph"
DEADLINE = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ReplicaProcess:
    """One real replica process, its output, and what it says about itself in discovery."""

    def __init__(self, process: asyncio.subprocess.Process, replica_id: str, cell: Cell, log: Path) -> None:
        self.process = process
        self.replica_id = replica_id
        self._cell = cell
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text()

    async def until(self, condition: Callable[[ReplicaStatus], bool]) -> ReplicaStatus:
        """The first status for which the condition holds."""
        async with asyncio.timeout(DEADLINE):
            while True:
                status = (await self._cell.statuses()).get(self.replica_id)
                if status is not None and condition(status):
                    return status
                assert self.process.returncode is None, f"ended with {self.process.returncode}:\n{self.output}"
                await asyncio.sleep(0.01)

    async def ready(self) -> ReplicaStatus:
        return await self.until(lambda status: status.state == "ready")

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.exit_code()

    async def exit_code(self) -> int:
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait()


class Cell:
    """A discovery server and the replicas around it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.discovery = LocalDiscoveryServer(directory / "d.sock")
        self.replicas: list[ReplicaProcess] = []

    def environment(self, **extra: str) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DYN_", "DYNAMO_"))},
            "DYN_DISCOVERY": f"unix://{self.directory / 'd.sock'}",
            "DYN_SCOPE": SCOPE,
            "DYN_RUN_DIR": str(self.directory),
            "DYNAMO_HOST": "127.0.0.1",
            "DYNAMO_PORT": "0",
            **extra,
        }

    async def start(
        self, target: str, service: str, *, cwd: Path, worker: int = 1, argv: list[str] | None = None, **env: str
    ) -> ReplicaProcess:
        replica_id = f"{service.lower()}-{worker}-{len(self.replicas)}"
        log = self.directory / f"{replica_id}.log"
        command = argv or ["-m", "dynamo.sdk.replica", target, "--service-name", service, "--worker-id", str(worker)]
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                cwd=cwd,
                env=self.environment(DYN_REPLICA_ID=replica_id, **env),
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
            )
        self.replicas.append(ReplicaProcess(process, replica_id, self, log))
        return self.replicas[-1]

    async def statuses(self) -> dict[str, ReplicaStatus]:
        snapshot = await MemoryDiscovery(self.discovery.store).get_prefix(replicas_prefix(SCOPE))
        found = [decode_status(item.value) for item in snapshot.items]
        return {status.replica_id: status for status in found}


@pytest.fixture
async def cell() -> AsyncIterator[Cell]:
    # Unix socket paths are short: pytest's own directories are too deep for them.
    with tempfile.TemporaryDirectory(prefix="cell-") as directory:
        made = Cell(Path(directory))
        await made.discovery.start()
        try:
            yield made
        finally:
            for replica in made.replicas:
                if replica.process.returncode is None:
                    replica.process.kill()
                    await replica.process.wait()
            await made.discovery.stop()
