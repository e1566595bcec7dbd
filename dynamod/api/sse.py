"""Server-sent events (the HTML standard, section 9.2): one encoder, and a response that ends cleanly.

A stream ends when the client leaves, when its source ends, or when the daemon stops. Between events a
comment is sent now and then, so that both sides notice a dead connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dynamod.schema import Problem

HEARTBEAT_S = 15.0
RETRY_MS = 1000


def encode_event(data: Any, *, event: str = "", id: str = "") -> bytes:
    """One event. JSON of msgspec holds no raw line break, so `data:` is always one line."""
    head = (f"id: {id}\n" if id else "") + (f"event: {event}\n" if event else "")
    return head.encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"


def encode_problem(problem: Problem) -> bytes:
    """The last event of a stream that the daemon ends: what happened and what to do."""
    return encode_event(problem, event="problem")


class Closing:
    """Set once when the daemon stops: every open stream ends then."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()


class EventStream(Response):
    """Sends the chunks of `source`, which are whole events. The source is closed in every case."""

    media_type = "text/event-stream"

    def __init__(self, source: AsyncIterator[bytes], closing: Closing, headers: dict[str, str] | None = None) -> None:
        self._source = source
        self._closing = closing
        self.status_code = 200
        self.background = None
        self.body = b""
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await _body(send, f"retry: {RETRY_MS}\n\n".encode())
        tasks = [
            asyncio.ensure_future(self._pump(send)),
            asyncio.ensure_future(_until_disconnect(receive)),
            asyncio.ensure_future(self._closing.wait()),
            asyncio.ensure_future(_heartbeat(send)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        if not tasks[1].cancelled():
            return  # the client has left
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _pump(self, send: Send) -> None:
        async with contextlib.aclosing(self._source) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                await _body(send, chunk)


async def _body(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _heartbeat(send: Send) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        await _body(send, b": still here\n\n")
