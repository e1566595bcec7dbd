"""Starts a server and a client process of one side and has the client carry out work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.peer import peer_python
from dynamo.runtime.discovery.local import LocalDiscoveryServer

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")
_PEER = {
    "DYN_DISCOVERY_BACKEND": "file",
    "DYN_REQUEST_PLANE": "tcp",
    "DYN_EVENT_PLANE": "zmq",
    "DYN_TCP_RPC_HOST": "127.0.0.1",
    "DYN_TCP_RESPONSE_STREAM_HOST": "127.0.0.1",
    "HF_HUB_OFFLINE": "1",
    "DYN_LOG": "info",
}


class Side:
    """A running pair of processes."""

    def __init__(self, server: asyncio.subprocess.Process, client: asyncio.subprocess.Process) -> None:
        self._server = server
        self._client = client

    async def do(self, work: str, concurrency: int, seconds: float) -> dict[str, float]:
        """The client's figures, and `cpu_us`: CPU of both processes per unit of work done, in microseconds."""
        assert self._client.stdin is not None
        before = self._cpu()
        order = {"work": work, "concurrency": concurrency, "seconds": seconds}
        self._client.stdin.write(json.dumps(order).encode() + b"\n")
        await self._client.stdin.drain()
        figures: dict[str, float] = json.loads(await _line(self._client, seconds + 60))
        figures["cpu_us"] = (self._cpu() - before) / figures["done"] * 1e6
        return figures

    def _cpu(self) -> float:
        return sum(_cpu_seconds(process.pid) for process in (self._server, self._client))


@contextlib.asynccontextmanager
async def ours(*, tcp: bool = False) -> AsyncIterator[Side]:
    """Our side over a Unix socket, or over TCP on loopback."""
    with tempfile.TemporaryDirectory(prefix="rtb-") as name:
        directory = Path(name)
        async with LocalDiscoveryServer(directory / "d.sock") as discovery:
            env = {
                **os.environ,
                "DYN_DISCOVERY": f"unix://{discovery.path}",
                "DYN_SCOPE": "bench/bench",
                "DYN_RUN_DIR": name,
                "DYN_REPLICA_ID": "bench",
            }
            other = {"DYN_TCP_HOST": "127.0.0.1", "DYN_HOST_ID": "elsewhere"} if tcp else {}
            replica = ["-m", "dynamo.sdk.replica", "benchmarks.runtime.graph:Backend"]
            server = await _start(
                sys.executable, [*replica, "--service-name", "Backend", "--worker-id", "1"], env | other
            )
            client = await _start(sys.executable, ["-m", "benchmarks.runtime.client_ours"], env)
            async with _running(server, client):
                yield Side(server, client)


@contextlib.asynccontextmanager
async def peer() -> AsyncIterator[Side]:
    """NVIDIA's runtime with file discovery and its TCP plane on loopback."""
    python = await asyncio.to_thread(peer_python, extra=("uvloop",))
    with tempfile.TemporaryDirectory(prefix="rtb-") as name:
        env = {**os.environ, **_PEER, "DYN_FILE_KV": name}
        program = str(HERE / "side_peer.py")
        server = await _start(python, [program, "server"], env)
        client = await _start(python, [program, "client"], env)
        async with _running(server, client):
            yield Side(server, client)


async def _start(python: str, arguments: list[str], env: dict[str, str]) -> asyncio.subprocess.Process:
    quiet = asyncio.subprocess.DEVNULL
    pipe = asyncio.subprocess.PIPE
    is_client = "client" in arguments[-1]
    return await asyncio.create_subprocess_exec(
        python,
        *arguments,
        env=env,
        cwd=ROOT,
        stdin=pipe if is_client else quiet,
        stdout=pipe if is_client else quiet,
        stderr=quiet,
    )


@contextlib.asynccontextmanager
async def _running(server: asyncio.subprocess.Process, client: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        while (await _line(client, 60)).strip() != b"ready":
            pass
        yield
    finally:
        for process in (client, server):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                try:
                    await asyncio.wait_for(process.wait(), 5)
                except TimeoutError:
                    process.kill()
                    await process.wait()


async def _line(process: asyncio.subprocess.Process, timeout: float) -> bytes:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), timeout)
    if not line:
        raise RuntimeError("a benchmark process ended early: run it by hand to see why")
    return line


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
