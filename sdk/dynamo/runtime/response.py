"""The answer to one request, as its caller reads it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from dynamo.runtime.errors import (
    DeadlineExceeded,
    EndpointError,
    InstanceLost,
    InstanceUnavailable,
    Overloaded,
    RequestError,
)
from dynamo.runtime.transport.base import Call

Retry = Callable[[RequestError], Awaitable[Call]]
"""Sends the request to another instance, or raises the error that the caller gets."""

_RETRIED = (InstanceLost, InstanceUnavailable, Overloaded)


class ResponseStream:
    """An async iterator over the items; `one()` for an endpoint that answers with a single item.

    Until its first item has arrived, a stream whose instance goes away is sent to another one. After that the
    reader gets `InstanceLost`. Cancelling a task that waits for an item cancels the request; so does
    `cancel()`, leaving an `async with` block, and dropping the last reference.
    """

    __slots__ = ("_call", "_deadline", "_items", "_loop", "_on_end", "_retry", "_timer")

    def __init__(self, call: Call, retry: Retry | None, on_end: Callable[[], None] | None = None) -> None:
        self._call = call
        self._retry = retry
        self._on_end = on_end
        self._items: Iterator[Any] = iter(())
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._loop = asyncio.get_running_loop()

    @property
    def instance_id(self) -> int:
        """The instance that answers; it may change until the first item has arrived."""
        return self._call.instance_id

    def __aiter__(self) -> ResponseStream:
        return self

    async def __anext__(self) -> Any:
        for item in self._items:
            return item
        call = self._call
        if self._retry is None and not call.ended:  # the common case, without the frames of `_more` and `take`
            if not call.items:
                await call.arrival()
            items = call.items
            if len(items) == 1 and not call.ended:
                call.taken(1)
                return items.pop()
        for item in await self._more():
            return item
        raise StopAsyncIteration

    async def batch(self) -> list[Any]:
        """Every item that has arrived, at least one, in a list of its own; empty at the end."""
        return list(self._items) or list(await self._more())

    async def one(self) -> Any:
        """The single item. Raises `EndpointError` when the endpoint answered with none."""
        for item in await self._more():
            self.cancel()
            return item
        raise EndpointError("NoItem", "the endpoint ended without an item", instance=self._call.instance_id)

    async def __aenter__(self) -> ResponseStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Stop reading: the handler at the other end is cancelled. Idempotent."""
        self._call.cancel()
        self._finish()

    async def aclose(self) -> None:
        self.cancel()

    def limit(self, seconds: float) -> None:
        """Fail with `DeadlineExceeded` unless the answer is complete in `seconds`."""
        self._deadline = self._loop.time() + seconds
        self._arm()

    def __del__(self) -> None:
        if self._call.ended and self._timer is None and self._on_end is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is nobody left to tell
            self._loop.call_soon_threadsafe(_let_go, self._call, self._timer, self._on_end)  # any thread may drop it

    async def _more(self) -> Iterator[Any]:
        """The next items that have arrived; an empty iterator at the end."""
        while True:
            try:
                items = await self._call.take()
            except _RETRIED as error:
                if self._retry is None:
                    self._finish()
                    raise
                try:
                    self._call = await self._retry(error)
                    self._arm()
                except BaseException:
                    self._finish()
                    raise
                continue
            except BaseException:
                self._finish()
                raise
            self._retry = None
            if not items or self._call.ended:
                self._finish()
            self._items = iter(items)
            return self._items

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._deadline:  # the timer knows the call, not the stream: a stream that nobody holds has to go
            self._timer = self._loop.call_at(self._deadline, _expire, self._call)

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._on_end is not None:
            on_end, self._on_end = self._on_end, None
            on_end()


def _let_go(call: Call, timer: asyncio.TimerHandle | None, on_end: Callable[[], None] | None) -> None:
    """What dropping the last reference to a stream does."""
    call.cancel()
    if timer is not None:
        timer.cancel()
    if on_end is not None:
        on_end()


def _expire(call: Call) -> None:
    if not call.ended:
        call.cancel()
        call.error = DeadlineExceeded("the deadline passed", instance=call.instance_id)
