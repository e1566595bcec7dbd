"""Decorators for programs that use the runtime directly: `@dynamo_worker()` and `@dynamo_endpoint(…)`."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from dynamo.runtime.bindings.bound import bind
from dynamo.runtime.distributed import DistributedRuntime
from dynamo.runtime.transport.codec import converter

T = TypeVar("T")
_DRAIN_SECONDS = 30.0

Main = Callable[..., Coroutine[Any, Any, T]]


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program on the fastest event loop there is here."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def dynamo_worker(static: bool = False) -> Callable[[Main[T]], Callable[..., Awaitable[T | None]]]:  # noqa: ARG001
    """Give an async function a connected runtime, as the bindings showed it, as its first argument.

    When the function returns while endpoints are served, the program goes on serving until SIGTERM or SIGINT,
    then drains. `static` is accepted for old programs and means nothing here.
    """

    def decorate(function: Main[T]) -> Callable[..., Awaitable[T | None]]:
        @functools.wraps(function)
        async def worker(*args: Any, **kwargs: Any) -> T | None:
            async with await DistributedRuntime.connect() as runtime:
                return await _until_stopped(runtime, function(await bind(runtime), *args, **kwargs))

        return worker

    return decorate


def dynamo_endpoint(
    request_type: Any,
    response_type: Any = None,  # noqa: ARG001
) -> Callable[[Callable[..., AsyncIterator[Any]]], Callable[..., AsyncIterator[Any]]]:
    """Convert the payload of a handler to `request_type`. `response_type` documents what it yields."""
    convert = converter(request_type) or (lambda payload: payload)

    def decorate(function: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
        @functools.wraps(function)
        async def handler(*args: Any) -> AsyncIterator[Any]:
            *bound, payload = args
            if not isinstance(payload, request_type):
                payload = convert(payload)
            async for item in function(*bound, payload):
                yield item

        return handler

    return decorate


async def _until_stopped(runtime: DistributedRuntime, work: Coroutine[Any, Any, T]) -> T | None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    main = loop.create_task(work)
    stopping = loop.create_task(stop.wait())
    try:
        await asyncio.wait((main, stopping), return_when=asyncio.FIRST_COMPLETED)
        if main.done() and (main.exception() is not None or not runtime.serving):
            return main.result()
        await stopping
        await runtime.drain(_DRAIN_SECONDS)
        return main.result() if main.done() else None
    finally:
        for task in (main, stopping):
            task.cancel()
        await asyncio.gather(main, stopping, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
