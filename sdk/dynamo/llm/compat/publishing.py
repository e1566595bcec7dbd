"""What old workers call to publish their load and their cache.

Their constructors are synchronous and take effect at once; here they start serving in the background, under the
running event loop, and stop with the runtime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dynamo.llm.compat.stats import ForwardPassMetrics, KvStats, WorkerStats
from dynamo.llm.engines.base import BlocksRemoved, BlocksStored, EngineLoad, StoredBlock
from dynamo.llm.kv.events import CachePublisher, LoadPublisher
from dynamo.llm.kv.hashing import MASK64, BlockHasher

if TYPE_CHECKING:
    from dynamo.runtime.component import Component


class Background:
    """A coroutine that a synchronous constructor started; the runtime ends it at its shutdown."""

    def __init__(self, component: Component, work: Coroutine[Any, Any, Any]) -> None:
        self._task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        component.runtime.own(self)

    async def done(self) -> Any:
        """The coroutine's result; raises what it raised."""
        return await asyncio.shield(self._task)

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task


def lora_name(lora_id: int) -> str | None:
    """The adapter that an old integer id stands for; 0 is the base model."""
    return str(lora_id) if lora_id else None


class WorkerMetricsPublisher:
    """Publishes `ForwardPassMetrics` once `create_endpoint` was awaited."""

    def __init__(self) -> None:
        self._publisher = LoadPublisher(EngineLoad())

    async def create_endpoint(self, component: Component) -> None:
        await self._publisher.serve(component)

    create_service = create_endpoint

    def publish(self, metrics: ForwardPassMetrics) -> None:
        self._publisher.publish(metrics.to_load())


class KvMetricsPublisher(WorkerMetricsPublisher):
    """The same before 0.3.1: the figures one by one."""

    def publish(
        self,
        request_active_slots: int | ForwardPassMetrics,
        request_total_slots: int = 0,
        kv_active_blocks: int = 0,
        kv_total_blocks: int = 0,
        num_requests_waiting: int = 0,
        gpu_cache_usage_perc: float = 0.0,
        gpu_prefix_cache_hit_rate: float = 0.0,
        data_parallel_rank: int | None = None,
    ) -> None:
        if isinstance(request_active_slots, ForwardPassMetrics):
            super().publish(request_active_slots)
            return
        worker = WorkerStats(request_active_slots, request_total_slots, num_requests_waiting, data_parallel_rank)
        kv = KvStats(kv_active_blocks, kv_total_blocks, gpu_cache_usage_perc, gpu_prefix_cache_hit_rate)
        super().publish(ForwardPassMetrics(worker, kv))


class KvEventPublisher:
    """Publishes what a worker's engine stores and evicts, block by block.

    `worker_id` is accepted and not needed: an event names the instance that served it.
    """

    def __init__(self, component: Component, worker_id: int, kv_block_size: int) -> None:
        if kv_block_size < 1:
            raise ValueError("kv_block_size cannot be 0")
        self.worker_id = worker_id
        self._hasher = BlockHasher(kv_block_size)
        self._publisher = CachePublisher(kv_block_size)
        self._serving = Background(component, self._publisher.serve(component))

    async def wait_until_served(self) -> None:
        """Returns once routers can see this worker. Raises `DiscoveryError`."""
        await self._serving.done()

    def publish_stored(
        self,
        event_id: int,  # noqa: ARG002
        token_ids: list[int],
        num_block_tokens: list[int],
        block_hashes: list[int],
        lora_id: int = 0,
        parent_hash: int | None = None,
    ) -> None:
        """Blocks in chain order: `token_ids` of all, `num_block_tokens` each, and the engine's names of them.

        As before, what follows a block that is not full is ignored: it has no identity yet. `event_id` is not
        needed: our events are numbered by their stream.
        """
        size = self._hasher.block_size
        full = 0
        while full < len(num_block_tokens) and num_block_tokens[full] == size:
            full += 1
        contents = self._hasher.contents(token_ids[: full * size]).tolist()
        blocks = tuple(StoredBlock(_unsigned(n), c) for n, c in zip(block_hashes, contents, strict=False))
        parent = None if parent_hash is None else _unsigned(parent_hash)
        if blocks:
            self._publisher.publish([BlocksStored(parent_hash=parent, blocks=blocks, lora=lora_name(lora_id))])

    def publish_removed(self, event_id: int, block_hashes: list[int]) -> None:  # noqa: ARG002
        self._publisher.publish([BlocksRemoved(block_hashes=tuple(_unsigned(name) for name in block_hashes))])


def _unsigned(name: int) -> int:
    """Old engines name blocks by signed 64-bit integers too."""
    return name & MASK64
