"""The consumer's side of a watch, shared by the backends: a queue between who learns of changes and who reads them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from dynamo.runtime.discovery.base import Snapshot, WatchItem


class WatchQueue:
    """A `Watch` that a backend feeds. It ends, for its reader, when it is closed."""

    def __init__(self, snapshot: Snapshot, on_close: Callable[[], Awaitable[None]]) -> None:
        self.snapshot = snapshot
        self._on_close = on_close
        self._items: deque[WatchItem] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def feed(self, item: WatchItem) -> None:
        self._items.append(item)
        self._changed.set()

    def end(self) -> None:
        """No more will come."""
        self._closed = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[WatchItem]:
        while True:
            while self._items:
                yield self._items.popleft()
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        if not self._closed:
            self.end()
            await self._on_close()
