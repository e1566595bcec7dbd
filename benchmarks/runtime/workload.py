"""The work itself, the same for both sides: standard library only, because it also runs in the peer's environment.

A side gives two functions: `ask(payload)` awaits one item, `stream(count)` is an async iterator of items.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Ask = Callable[[Any], Awaitable[Any]]
Stream = Callable[[int], AsyncIterator[Any]]

ITEMS = 128
"""Items of one stream; its handler awaits between them."""
MEBIBYTE = 1 << 20


def item(number: int) -> dict[str, Any]:
    """A small item: about what one token of a completion takes."""
    return {"index": number, "text": "token"}


async def unary(ask: Ask, concurrency: int, seconds: float) -> dict[str, float]:
    """Requests per second, and the percentiles of one request's time."""
    payload = {"text": "hello", "n": 1}
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while (began := time.perf_counter()) < end:
            await ask(payload)
            taken.append(time.perf_counter() - began)

    return await _measure(caller, concurrency, lambda: len(taken), taken)


async def streams(stream: Stream, concurrency: int, seconds: float) -> dict[str, float]:
    """Items per second over streams of `ITEMS` items."""
    done = 0
    end = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            count = 0
            async for _ in stream(ITEMS):
                count += 1
            if count != ITEMS:
                raise RuntimeError(f"a stream of {ITEMS} items brought {count}")
            done += count

    return await _measure(caller, concurrency, lambda: done)


async def payloads(ask: Ask, concurrency: int, seconds: float) -> dict[str, float]:
    """Megabytes of payload per second, both ways counted, echoing strings of one MiB."""
    text = "x" * MEBIBYTE
    done = 0
    end = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            answer = await ask(text)
            if len(answer) != MEBIBYTE:
                raise RuntimeError("an echo came back shorter")
            done += 2 * MEBIBYTE

    return await _measure(caller, concurrency, lambda: done / 1e6)


async def run(ask: Ask, stream: Stream) -> None:
    """Carry out the commands on stdin, one JSON object a line, and answer each on stdout."""
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        concurrency, seconds = order["concurrency"], order["seconds"]
        if order["work"] == "streams":
            figures = await streams(stream, concurrency, seconds)
        else:
            figures = await (unary if order["work"] == "unary" else payloads)(ask, concurrency, seconds)
        print(json.dumps(figures), flush=True)


async def _measure(
    caller: Callable[[], Awaitable[None]], concurrency: int, done: Callable[[], float], taken: list[float] | None = None
) -> dict[str, float]:
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    wall = time.perf_counter() - began
    figures = {"done": done(), "rate": done() / wall, "client_cpu": time.process_time() - cpu}
    if taken:
        taken.sort()
        figures["p50_us"] = taken[len(taken) // 2] * 1e6
        figures["p99_us"] = taken[int(len(taken) * 0.99)] * 1e6
    return figures
