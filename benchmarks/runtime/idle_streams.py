"""Memory of open, idle streams on one connection, and what they cost the others.

    python benchmarks/runtime/idle_streams.py [--streams 10000]

Two processes, one connection. Prints the growth of resident memory per stream on either side, and the p50
and p99 of a unary echo on the same connection before and while the streams are open.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

from dynamo.runtime import DistributedRuntime
from dynamo.runtime.discovery.local import LocalDiscoveryServer

_PAGE = os.sysconf("SC_PAGE_SIZE")


async def serve() -> None:
    async def echo(payload: Any) -> Any:
        return payload

    async def idle(payload: Any) -> AsyncIterator[Any]:
        yield payload
        await asyncio.get_running_loop().create_future()

    async with await DistributedRuntime.connect() as runtime:
        component = runtime.namespace("bench").component("idle")
        await component.endpoint("echo").serve_endpoint(echo)
        await component.endpoint("idle").serve_endpoint(idle)
        print(json.dumps({"pid": os.getpid()}), flush=True)
        await runtime.until_shutdown()


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


async def latency(client: Any, count: int = 3000) -> tuple[float, float]:
    """p50 and p99 of an echo, in microseconds."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        await (await client.generate("x")).one()
        taken.append(time.perf_counter() - began)
    taken.sort()
    return taken[count // 2] * 1e6, taken[int(count * 0.99)] * 1e6


async def measure(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="rtb-") as name:
        async with LocalDiscoveryServer(Path(name) / "d.sock") as discovery:
            os.environ.update(DYN_DISCOVERY=f"unix://{discovery.path}", DYN_SCOPE="bench/idle", DYN_RUN_DIR=name)
            server = await asyncio.create_subprocess_exec(
                sys.executable, __file__, "--serve", stdout=asyncio.subprocess.PIPE
            )
            assert server.stdout is not None
            try:
                await server.stdout.readline()
                async with await DistributedRuntime.connect() as runtime:
                    await _measure(runtime, server.pid, count)
            finally:
                server.kill()
                await server.wait()


async def _measure(runtime: DistributedRuntime, server: int, count: int) -> None:
    component = runtime.namespace("bench").component("idle")
    echo = await component.endpoint("echo").client()
    idle = await component.endpoint("idle").client()
    await latency(echo)
    quiet = await latency(echo)
    before = resident(os.getpid()), resident(server)
    streams = []
    for number in range(count):
        stream = await idle.generate(number)
        await anext(stream)
        streams.append(stream)
    after = resident(os.getpid()), resident(server)
    busy = await latency(echo)
    print(f"{count} idle streams on one connection")
    caller, served = ((later - earlier) / count for later, earlier in zip(after, before, strict=True))
    print(f"memory per stream: caller {caller:,.0f} B, server {served:,.0f} B")
    print(f"unary echo, p50 / p99: without {quiet[0]:.0f} / {quiet[1]:.0f} µs, with {busy[0]:.0f} / {busy[1]:.0f} µs")
    for stream in streams:
        stream.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    uvloop.run(serve() if arguments.serve else measure(arguments.streams))
