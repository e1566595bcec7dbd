"""Real processes around a real discovery server."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dynamo.runtime import DistributedRuntime
from dynamo.runtime.discovery.local import LocalDiscoveryServer

WORKER = Path(__file__).parent / "worker.py"


class Process:
    """A worker process; `ready` was read from its stdout."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def wait(self) -> int:
        async with asyncio.timeout(20):
            return await self._process.wait()

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
        await self.wait()
        self._process._transport.close()  # type: ignore[attr-defined]


class Place:
    """One directory with a discovery server, worker processes and runtimes; everything ends with the test."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.directory = directory
        self.stack = stack
        self.socket = directory / "d.sock"
        self.url = f"unix://{self.socket}"
        self.server = LocalDiscoveryServer(self.socket)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DYN_DISCOVERY": self.url, "DYN_SCOPE": "p/g", "DYN_RUN_DIR": str(self.directory)}

    async def worker(self, mode: str = "plain", **environment: str) -> Process:
        env = {**self.environment(), **environment}
        started = await asyncio.create_subprocess_exec(
            sys.executable, str(WORKER), mode, stdout=asyncio.subprocess.PIPE, env=env
        )
        process = Process(started)
        self.stack.push_async_callback(process.end)
        assert started.stdout is not None
        async with asyncio.timeout(30):
            assert await started.stdout.readline() == b"ready\n"
        return process

    async def runtime(self) -> DistributedRuntime:
        runtime = await DistributedRuntime.connect(self.url, scope="p/g", run_dir=self.directory)
        self.stack.push_async_callback(runtime.shutdown)
        return runtime


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """Short, because a Unix socket's path is limited to 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="rt-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def place(short_dir: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        place = Place(short_dir, stack)
        await place.server.start()
        stack.push_async_callback(lambda: place.server.stop())
        yield place
