"""The peer's server and client; runs in its own environment: `side_peer.py server|client`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvloop
import workload

from dynamo.runtime import DistributedRuntime, dynamo_worker


async def echo(payload: Any) -> AsyncIterator[Any]:
    yield payload


async def stream(count: int) -> AsyncIterator[Any]:
    for number in range(count):
        yield workload.item(number)
        await asyncio.sleep(0)


@dynamo_worker()
async def server(runtime: DistributedRuntime) -> None:
    await asyncio.gather(
        runtime.endpoint("bench.backend.echo").serve_endpoint(echo),
        runtime.endpoint("bench.backend.stream").serve_endpoint(stream),
    )


@dynamo_worker()
async def client(runtime: DistributedRuntime) -> None:
    echoes = await runtime.endpoint("bench.backend.echo").client()
    streams = await runtime.endpoint("bench.backend.stream").client()
    await echoes.wait_for_instances()
    await streams.wait_for_instances()

    async def ask(payload: Any) -> Any:
        (answer,) = [item async for item in await echoes.round_robin(payload, annotated=False)]
        return answer

    async def items(count: int) -> AsyncIterator[Any]:
        async for each in await streams.round_robin(count, annotated=False):
            yield each

    await workload.run(ask, items)


if __name__ == "__main__":
    uvloop.run({"server": server, "client": client}[sys.argv[1]]())
