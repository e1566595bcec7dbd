"""What a worker tells routers: its cache, as a snapshot and numbered deltas, and its load, pushed alike.

Two endpoints of the worker's component (see `dynamo.runtime.events` for the frame around them):

- `kv_events`: the snapshot is `{"block_size", "ranks", "changes"}`, a delta a list of changes (`kv.wire`).
- `load`: the snapshot is an `EngineLoad`, and so is each delta; sent when it has changed, at most once an interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from dynamo.llm.engines.base import Engine, EngineLoad, KvEvent
from dynamo.llm.kv.mirror import BlockMirror
from dynamo.llm.kv.wire import encode_changes
from dynamo.runtime.events import SnapshotPublisher

if TYPE_CHECKING:
    from dynamo.runtime.component import Component, ServedEndpoint
    from dynamo.runtime.metrics import Registry

EVENTS_ENDPOINT = "kv_events"
LOAD_ENDPOINT = "kv_load"
LOAD_INTERVAL = 0.1
"""Seconds. Routers predict what they sent meanwhile, so this need not be short."""


class CachePublisher:
    """A mirror of one cache and its endpoint `kv_events`. `ranks`: data-parallel ranks of the engine."""

    def __init__(self, block_size: int, *, ranks: int = 1) -> None:
        self._block_size = block_size
        self._ranks = ranks
        self.mirror = BlockMirror()
        self._publisher = SnapshotPublisher(self._snapshot)

    async def serve(self, component: Component) -> ServedEndpoint:
        """Raises `DiscoveryError`."""
        return await self._publisher.serve(component.endpoint(EVENTS_ENDPOINT))

    def publish(self, events: Iterable[KvEvent]) -> None:
        """Follow what an engine reported, and tell readers."""
        changes = [change for event in events if (change := self.mirror.apply(event)) is not None]
        if changes:
            self._publisher.publish(encode_changes(changes))

    def _snapshot(self) -> dict[str, Any]:
        return {
            "block_size": self._block_size,
            "ranks": self._ranks,
            "changes": encode_changes(self.mirror.snapshot()),
        }


class LoadPublisher:
    """The latest load and its endpoint `load`."""

    def __init__(self, load: EngineLoad) -> None:
        self._load = load
        self._publisher = SnapshotPublisher(lambda: msgspec.to_builtins(self._load))

    async def serve(self, component: Component) -> ServedEndpoint:
        """Raises `DiscoveryError`."""
        return await self._publisher.serve(component.endpoint(LOAD_ENDPOINT))

    def publish(self, load: EngineLoad) -> None:
        """Tell readers, if it has changed."""
        if load != self._load:
            self._load = load
            self._publisher.publish(msgspec.to_builtins(load))


class KvEventPublisher:
    """Follows one engine and serves what it caches and how busy it is."""

    def __init__(self, engine: Engine, *, interval: float = LOAD_INTERVAL) -> None:
        self._engine = engine
        self._interval = interval
        self._cache = CachePublisher(engine.card.block_size, ranks=engine.card.data_parallel_size)
        self._load = LoadPublisher(engine.load())
        self._served: list[ServedEndpoint] = []
        self._pushing: asyncio.Task[None] | None = None
        engine.listen(self._cache.publish)

    @property
    def mirror(self) -> BlockMirror:
        return self._cache.mirror

    async def serve(self, component: Component) -> None:
        """Serve both endpoints under `component`. Raises `DiscoveryError`."""
        self._served = [await self._load.serve(component), await self._cache.serve(component)]
        self._pushing = asyncio.get_running_loop().create_task(self._push(), name="load reports")

    async def close(self) -> None:
        """Leave discovery and stop. Routers forget the worker."""
        for served in self._served:
            await served.stop()
        self._served = []
        pushing, self._pushing = self._pushing, None
        if pushing is not None:
            pushing.cancel()
            with suppress(asyncio.CancelledError):
                await pushing

    async def _push(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self._load.publish(self._engine.load())


_GAUGES = {
    "running_requests": ("Requests in the running batch.", "running_requests"),
    "waiting_requests": ("Requests waiting for room in the batch.", "waiting_requests"),
    "kv_blocks_total": ("Blocks of the KV cache.", "total_blocks"),
    "kv_blocks_active": ("Blocks that running requests use.", "active_blocks"),
    "kv_blocks_cached": ("Blocks that hold a reusable prefix.", "cached_blocks"),
    "cache_usage": ("Active blocks / all blocks, 0..1.", "cache_usage"),
}
_COUNTERS = {
    "prefix_queries_tokens_total": ("Prompt tokens looked up.", "prefix_queries_tokens"),
    "prefix_hits_tokens_total": ("Prompt tokens found in the cache.", "prefix_hits_tokens"),
}


def register_engine_metrics(engine: Engine, registry: Registry) -> None:
    """The engine's load as `dynamo_engine_*` metrics, read when they are asked for.

    An engine with several data-parallel ranks has each metric once a rank, with the label `dp_rank`.
    """
    ranks = engine.card.data_parallel_size
    labels = ["dp_rank"] if ranks > 1 else []

    def reading(rank: int, field: str) -> Callable[[], float]:
        return lambda: float(getattr(engine.load().of_rank(rank), field))

    for family_of, metrics in ((registry.gauge, _GAUGES), (registry.counter, _COUNTERS)):
        for name, (help_, field) in metrics.items():
            family = family_of(f"dynamo_engine_{name}", help_, labels)
            for rank in range(ranks):
                family.labels(*[str(rank)] * len(labels)).set_function(reading(rank, field))


def load_from_wire(body: Any) -> EngineLoad:
    """Raises msgspec.ValidationError for something else."""
    return msgspec.convert(body, EngineLoad)
