"""One task per thing that is followed: started when it appears, ended when it goes, retried in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")

FIRST_DELAY_S = 0.2
MAX_DELAY_S = 5.0

_log = logging.getLogger(__name__)


class Followers(Generic[K, T]):
    """Runs `follow(key, item)` for every wanted key. It should run for ever; when it returns or fails it is
    begun again after a delay that doubles from 0.2 s to 5 s, and starts small again after a good minute."""

    def __init__(self, follow: Callable[[K, T], Awaitable[None]]) -> None:
        self._follow = follow
        self._tasks: dict[K, tuple[T, asyncio.Task[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __contains__(self, key: K) -> bool:
        return key in self._tasks

    def want(self, wanted: Mapping[K, T]) -> None:
        """Follow exactly these from now on. A key whose item changed is followed anew."""
        for key, (item, task) in list(self._tasks.items()):
            if key not in wanted or wanted[key] != item:
                del self._tasks[key]
                self._end(task)
        for key, item in wanted.items():
            if key not in self._tasks:
                task = asyncio.get_running_loop().create_task(self._run(key, item), name=f"follow {key}")
                self._tasks[key] = (item, task)

    async def close(self) -> None:
        for _, task in self._tasks.values():
            self._end(task)
        self._tasks.clear()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        task.cancel()

    async def _run(self, key: K, item: T) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY_S
        while True:
            began = loop.time()
            try:
                await self._follow(key, item)
            except Exception as error:
                _log.debug("following %s: %s", key, error)
            if loop.time() - began > 60:
                delay = FIRST_DELAY_S
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_DELAY_S)
