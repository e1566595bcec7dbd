"""A process that serves test endpoints: `worker.py MODE`. It prints `ready` once they are registered."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

from dynamo.runtime import DistributedRuntime, RequestContext


async def echo(payload: Any) -> Any:
    return payload


async def pid(payload: Any) -> int:
    return os.getpid()


async def count(number: int) -> AsyncIterator[int]:
    for i in range(number):
        yield i
        await asyncio.sleep(0)


async def slow_start(payload: Any) -> AsyncIterator[Any]:
    """Says who it is only after `payload` seconds."""
    await asyncio.sleep(payload)
    yield os.getpid()


async def when_there(path: str) -> AsyncIterator[int]:
    """Says who it is once the file exists."""
    while not Path(path).exists():  # a file is what the test can make
        await asyncio.sleep(0.01)
    yield os.getpid()


async def ticks(interval: float) -> AsyncIterator[int]:
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(interval)


async def who(payload: Any, context: RequestContext) -> dict[str, Any]:
    return {"id": context.id, "traceparent": context.traceparent, "headers": dict(context.headers)}


async def fail(payload: Any) -> None:
    raise KeyError(payload)


async def fail_later(payload: Any) -> AsyncIterator[int]:
    yield 1
    raise ValueError("after one item")


async def unsendable(payload: Any) -> AsyncIterator[Any]:
    yield 1
    yield object()


async def main() -> None:
    async with await DistributedRuntime.connect() as runtime:
        component = runtime.namespace("ns").component("worker")
        produced = 0
        stopped = asyncio.Event()

        async def flood(size: int) -> AsyncIterator[str]:
            """As many items of `size` characters as the reader takes; `produced` says how many that were."""
            nonlocal produced
            try:
                while True:
                    yield "x" * size
                    produced += 1
            finally:
                stopped.set()

        async def state(payload: Any) -> dict[str, Any]:
            return {"produced": produced, "stopped": stopped.is_set()}

        for handler in (
            echo,
            pid,
            count,
            slow_start,
            when_there,
            ticks,
            who,
            fail,
            fail_later,
            unsendable,
            flood,
            state,
        ):
            await component.endpoint(handler.__name__).serve_endpoint(handler)
        print("ready", flush=True)  # noqa: T201  # the parent waits for it
        await runtime.until_shutdown()


if __name__ == "__main__":
    runner = asyncio.run if sys.argv[1] == "asyncio" else uvloop.run
    runner(main())
