"""Plain ASGI: bodies in, answers and streams out, and clients that leave in the middle.

Streaming goes straight to the server's `send`: per chunk there is one dict and one write, nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from dynamo.llm.openai.errors import ErrorAnswer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
EVENT_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class ClientGone(Exception):
    """The client closed the connection before its answer was complete."""


class BodyTooLarge(Exception):
    """The request's body is over the limit (bytes)."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request's body is larger than {limit} bytes.")
        self.limit = limit


async def run_lifespan(receive: Receive, send: Send) -> None:
    """Say yes to a server's start and stop, for an application with nothing to do at either."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        ClientGone: the client left before it had sent it all.
        BodyTooLarge: more than `limit` bytes.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLarge(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that name (lower case)."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return None


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """Cancels its body when the client goes away, and then raises ClientGone."""

    async def watch() -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone

    try:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(watch())
            try:
                yield
            finally:
                watcher.cancel()
    except BaseExceptionGroup as errors:
        raise _the_one(errors) from None


def _the_one(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The body's own error, else ClientGone."""
    flat: list[BaseException] = []
    pending: list[BaseException] = [errors]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            flat.append(error)
    return next((e for e in flat if not isinstance(e, ClientGone)), flat[0])


class Answer:
    """One HTTP answer: either a whole body, or a stream that starts at its first event."""

    __slots__ = ("_headers", "_send", "started")

    def __init__(self, send: Send, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._send = send
        self._headers = list(headers)
        self.started = False

    async def json(self, body: bytes, status: int = 200, headers: Headers | None = None) -> None:
        length = (b"content-length", str(len(body)).encode())
        all_headers = [JSON, length, *self._headers, *(headers or [])]
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": all_headers})
        await self._send({"type": "http.response.body", "body": body})

    async def error(self, answer: ErrorAnswer) -> None:
        await self.json(answer.body(), answer.status, answer.headers())

    async def event(self, data: bytes) -> None:
        """One or several encoded events."""
        if not self.started:
            self.started = True
            headers = [*EVENT_STREAM, *self._headers]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})
