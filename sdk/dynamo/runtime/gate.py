"""A client's own limit: so many requests at once, so many waiting, the rest refused."""

from __future__ import annotations

import asyncio
from collections import deque

from dynamo.runtime.errors import Overloaded
from dynamo.runtime.metrics import Gauge


class Gate:
    """First come, first served. `depth` shows how many wait."""

    def __init__(self, limit: int, queue: int, endpoint: str, depth: Gauge) -> None:
        self._limit = limit
        self._queue = queue
        self._endpoint = endpoint
        self._depth = depth
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Take a place; `leave` gives it back. Raises `Overloaded` when the queue is full as well."""
        if self._running < self._limit:
            self._running += 1
            return
        if len(self._waiting) >= self._queue:
            reason = f"{self._running} requests are under way and {len(self._waiting)} wait: the client's limits"
            raise Overloaded(reason, endpoint=self._endpoint)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._depth.inc()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place came together with the cancellation
                self.leave()
            else:
                self._waiting.remove(turn)
            raise
        finally:
            self._depth.dec()

    def leave(self) -> None:
        """Hand the place to whoever has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._running -= 1
