"""The instances of one endpoint, as a caller knows them: followed through discovery, kept through its outages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import msgspec

from dynamo.runtime.discovery.base import Change, Discovery, Reset, Snapshot, Watch
from dynamo.runtime.errors import DiscoveryError
from dynamo.runtime.status import Instance, decode_instance

logger = logging.getLogger(__name__)

_AVOID_SECONDS = 1.0
_CONFIRM_SECONDS = 10.0
_RETRY_SECONDS = 0.5

OnChange = Callable[[list[int]], None]


class InstanceSet:
    """Follows a discovery prefix. `usable` is what selection picks from; `known` everything registered.

    After discovery lost its memory (a restart) an instance that has not registered again yet stays known for
    a while: it most likely will. One that cannot be reached is avoided for a moment, whatever discovery says.
    """

    def __init__(self, discovery: Discovery, prefix: str) -> None:
        self.known: dict[int, Instance] = {}
        self.usable: list[Instance] = []
        self.version = 0
        self._discovery = discovery
        self._prefix = prefix
        self._by_key: dict[str, int] = {}
        self._unconfirmed: dict[str, asyncio.TimerHandle] = {}
        self._avoided: dict[int, asyncio.TimerHandle] = {}
        self._changed: list[asyncio.Future[None]] = []
        self._listeners: list[OnChange] = []
        self._watch: Watch | None = None
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Load the present instances and follow from there. Idempotent. Raises `DiscoveryError`."""
        async with self._starting:
            if self._task is None:
                self._watch = await self._discovery.watch(self._prefix)
                self._reset(self._watch.snapshot)
                self._task = asyncio.get_running_loop().create_task(self._follow(self._watch))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._watch is not None:
            await self._watch.close()
        for timer in [*self._unconfirmed.values(), *self._avoided.values()]:
            timer.cancel()
        self._listeners.clear()
        self._notify()

    def listen(self, callback: OnChange) -> Callable[[], None]:
        """Call `callback(ids)` at every change; returns a function that ends that."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def avoid(self, instance_id: int) -> None:
        """It could not be reached: leave it alone for a moment."""
        timer = self._avoided.pop(instance_id, None)
        if timer is not None:
            timer.cancel()
        if instance_id in self.known:
            loop = asyncio.get_running_loop()
            self._avoided[instance_id] = loop.call_later(_AVOID_SECONDS, self._forgive, instance_id)
            self._refresh()

    async def changed(self) -> None:
        """Returns at the next change."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.append(waiter)
        await waiter

    async def updates(self) -> AsyncIterator[list[int]]:
        """The ids now, and again after every change. Changes that come together are seen once."""
        seen = -1
        while True:
            if seen != self.version:
                seen = self.version
                yield list(self.known)
            else:
                await self.changed()

    # -- inside

    async def _follow(self, watch: Watch) -> None:
        while True:
            async for item in watch:
                if isinstance(item, Reset):
                    self._reset(item.snapshot)
                else:
                    self._apply(item)
            try:
                await asyncio.sleep(_RETRY_SECONDS)
                self._watch = watch = await self._discovery.watch(self._prefix)
                self._reset(watch.snapshot)
            except DiscoveryError as error:
                logger.warning("cannot watch %s: %s", self._prefix, error)

    def _reset(self, snapshot: Snapshot) -> None:
        present = {item.key for item in snapshot.items}
        loop = asyncio.get_running_loop()
        for key in self._by_key:
            if key not in present and key not in self._unconfirmed:
                self._unconfirmed[key] = loop.call_later(_CONFIRM_SECONDS, self._drop, key)
        for item in snapshot.items:
            self._put(item.key, item.value)
        self._refresh()

    def _apply(self, change: Change) -> None:
        if change.value is None:
            self._drop(change.key)
        else:
            self._put(change.key, change.value)
            self._refresh()

    def _put(self, key: str, value: bytes) -> None:
        try:
            instance = decode_instance(value)
        except msgspec.MsgspecError as error:
            logger.warning("%s is not an instance: %s", key, error)
            return
        timer = self._unconfirmed.pop(key, None)
        if timer is not None:
            timer.cancel()
        avoided = self._avoided.pop(instance.instance_id, None)
        if avoided is not None:
            avoided.cancel()
        self._by_key[key] = instance.instance_id
        self.known[instance.instance_id] = instance

    def _drop(self, key: str) -> None:
        timer = self._unconfirmed.pop(key, None)
        if timer is not None:
            timer.cancel()
        instance_id = self._by_key.pop(key, None)
        if instance_id is not None:
            self.known.pop(instance_id, None)
            self._refresh()

    def _forgive(self, instance_id: int) -> None:
        if self._avoided.pop(instance_id, None) is not None:
            self._refresh()

    def _refresh(self) -> None:
        reachable = [i for i in self.known.values() if i.status != "draining" and i.instance_id not in self._avoided]
        idle = [instance for instance in reachable if instance.status != "busy"]
        self.usable = idle or reachable
        self.version += 1
        ids = list(self.known)
        for callback in list(self._listeners):
            callback(ids)
        self._notify()

    def _notify(self) -> None:
        waiting, self._changed = self._changed, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
