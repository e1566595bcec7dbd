"""Reads server-sent events with the parser that the product's clients use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec

from dynamo_tui.client.sse import EventParser, ServerEvent


class Events:
    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._parser = EventParser()
        self._chunks = response.aiter_raw()
        self._ready: list[ServerEvent] = []

    async def next(self) -> ServerEvent:
        """The next event; a `StopAsyncIteration` ends the stream."""
        async with asyncio.timeout(30):
            while not self._ready:
                self._ready += self._parser.feed(await anext(self._chunks))
        return self._ready.pop(0)

    async def take(self, count: int) -> list[ServerEvent]:
        return [await self.next() for _ in range(count)]


@asynccontextmanager
async def stream(
    client: httpx.AsyncClient, path: str, *, last_id: str | None = None, **query: str | int
) -> AsyncIterator[Events]:
    headers = {"Last-Event-ID": last_id} if last_id is not None else {}
    async with client.stream("GET", path, params=query, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Events(response)


def data(event: ServerEvent) -> object:
    return msgspec.json.decode(event.data)
