"""One task per instance of a set: how subscribers keep a stream open to each publisher."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from dynamo.runtime.errors import RequestError
from dynamo.runtime.instances import InstanceSet
from dynamo.runtime.status import Instance

logger = logging.getLogger(__name__)

_FIRST_DELAY = 0.02
_LONGEST_DELAY = 1.0

T = TypeVar("T")
Follow = Callable[[Instance], Awaitable[None]]


class InstanceFollower:
    """Runs `follow(instance)` for every instance of the set, again when it fails, until the instance is gone.

    `gone(instance id)` is called after that. `follow` may return or raise a `RequestError`; both are retried.
    """

    def __init__(self, instances: InstanceSet, follow: Follow, gone: Callable[[int], None] | None = None) -> None:
        self._instances = instances
        self._follow = follow
        self._gone = gone
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin with the instances of now. Raises `DiscoveryError`."""
        await self._instances.start()
        if self._watcher is None:
            self._reconcile()
            self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        if self._watcher is not None:
            tasks.append(self._watcher)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        await self._instances.close()

    async def _watch(self) -> None:
        while True:
            await self._instances.changed()
            self._reconcile()

    def _reconcile(self) -> None:
        known = self._instances.known
        for instance_id in [i for i in self._tasks if i not in known]:
            self._tasks.pop(instance_id).cancel()
            if self._gone is not None:
                self._gone(instance_id)
        for instance_id in known:
            if instance_id not in self._tasks:
                self._tasks[instance_id] = asyncio.get_running_loop().create_task(self._keep(instance_id))

    async def _keep(self, instance_id: int) -> None:
        delay = _FIRST_DELAY
        while (instance := self._instances.known.get(instance_id)) is not None:
            began = asyncio.get_running_loop().time()
            try:
                await self._follow(instance)
            except RequestError as error:
                logger.debug("following %s of instance %x: %s", instance.path, instance_id, error)
            if asyncio.get_running_loop().time() - began > _LONGEST_DELAY:
                delay = _FIRST_DELAY
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, _LONGEST_DELAY)


class Merge(Generic[T]):
    """Many writers, one reader. `put` waits while `limit` items are unread; `force` does not."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, item: T) -> None:
        while len(self._items) >= self._limit:
            self._room.clear()
            await self._room.wait()
        self.force(item)

    def force(self, item: T) -> None:
        self._items.append(item)
        self._arrived.set()

    async def get(self) -> T:
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        item = self._items.popleft()
        if len(self._items) < self._limit:
            self._room.set()
        return item
