"""How a router learns of its workers: follows their cache and load over the runtime."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from dynamo.llm.engines.base import EngineLoad
from dynamo.llm.kv.events import EVENTS_ENDPOINT, LOAD_ENDPOINT, load_from_wire
from dynamo.llm.kv.router import KvRouter
from dynamo.llm.kv.wire import MalformedChange, decode_changes
from dynamo.llm.kv.workers import Worker
from dynamo.runtime.events import SnapshotEvent, SnapshotSubscriber

if TYPE_CHECKING:
    from dynamo.runtime.component import Component

_log = logging.getLogger(__name__)


class _Snapshot(msgspec.Struct):
    block_size: int
    changes: list[Any]
    ranks: int = 1


class WorkerFollower:
    """Feeds `router` with the workers of `component`, which serve themselves by a `KvEventPublisher`.

    A worker joins with its first snapshot and is forgotten, blocks and all, when its instance is gone. After a
    gap in its events a fresh snapshot replaces what was known of it.
    """

    def __init__(self, router: KvRouter, component: Component) -> None:
        self._router = router
        self._events = SnapshotSubscriber(component.endpoint(EVENTS_ENDPOINT))
        self._loads = SnapshotSubscriber(component.endpoint(LOAD_ENDPOINT))
        self._latest: dict[int, EngineLoad] = {}
        self._ranks: dict[int, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> WorkerFollower:
        """Connect to the workers of now and follow from then on. Raises `DiscoveryError`."""
        await self._loads.start()
        await self._events.start()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._follow_events(), name="kv events"),
            loop.create_task(self._follow_loads(), name="kv load"),
        ]
        return self

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        await self._events.close()
        await self._loads.close()

    async def _follow_events(self) -> None:
        async for event in self._events:
            try:
                self._apply(event)
            except (MalformedChange, msgspec.ValidationError) as error:
                _log.error("cache events of instance %x: %s; its prefixes are ignored", event.instance_id, error)
                self._router.restore(event.instance_id, [])

    def _apply(self, event: SnapshotEvent) -> None:
        instance, router = event.instance_id, self._router
        if event.kind == "gone":
            self._ranks.pop(instance, None)
            router.remove_instance(instance)
            return
        if event.kind == "delta":
            for change in decode_changes(event.body):
                router.apply(instance, change)
            return
        snapshot = msgspec.convert(event.body, _Snapshot)
        for rank in range(snapshot.ranks):
            router.add_worker(Worker(instance, rank))
        self._ranks[instance] = snapshot.ranks
        if snapshot.block_size != router.options.block_size:
            size = router.options.block_size
            raise MalformedChange(f"blocks of {snapshot.block_size} tokens where the router has {size}")
        router.restore(instance, decode_changes(snapshot.changes))
        self._report(instance)

    async def _follow_loads(self) -> None:
        async for event in self._loads:
            if event.kind == "gone":
                self._latest.pop(event.instance_id, None)
                continue
            try:
                load = load_from_wire(event.body)
            except msgspec.ValidationError as error:
                _log.error("load of instance %x: %s", event.instance_id, error)
                continue
            self._latest[event.instance_id] = load
            self._report(event.instance_id)

    def _report(self, instance: int) -> None:
        load = self._latest.get(instance)
        if load is not None:
            for rank in range(self._ranks.get(instance, 0)):
                self._router.report(Worker(instance, rank), load.of_rank(rank))
