"""What every worker does around its engine: serve it, tell what it caches and how loaded it is, publish its card."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dynamo.llm.engines.base import Engine, EngineLoad, EngineOutput, EngineRequest, Progress
from dynamo.llm.errors import RequestError
from dynamo.llm.pipeline import EmbedOutput, EmbedRequest
from dynamo.llm.registration import publish_model
from dynamo.runtime.errors import Overloaded
from dynamo.runtime.metrics import Gauge, Registry

if TYPE_CHECKING:
    from dynamo.runtime import DistributedRuntime
    from dynamo.runtime.distributed import Registration

logger = logging.getLogger(__name__)

LOAD_INTERVAL = 0.1
"""Seconds between looks at the engine's load; subscribers hear of it when it changed."""


@runtime_checkable
class EmbeddingEngine(Protocol):
    """An engine that also embeds."""

    async def embed(self, request: EmbedRequest) -> EmbedOutput: ...


class WorkerService:
    """One engine as a service. Endpoints of the worker hand their requests to it.

    `max_waiting`: from so many waiting requests on, new ones are refused (and tried on another worker).
    """

    def __init__(
        self,
        runtime: DistributedRuntime,
        engine: Engine,
        *,
        namespace: str,
        component: str,
        max_waiting: int | None = None,
    ) -> None:
        self.engine = engine
        self._runtime = runtime
        self._namespace = namespace
        self._component = component
        self._max_waiting = max_waiting
        self._card: Registration | None = None
        self._watch: asyncio.Task[None] | None = None
        self._problem = "starting"
        self._changed = asyncio.Event()
        self._load = EngineLoad()
        self._metrics = EngineMetrics(runtime.metrics)

    async def start(self, progress: Progress) -> None:
        """Start the engine, then publish its card. Engine errors pass through."""
        await self.engine.start(progress)
        self._problem = ""
        self._watch = asyncio.create_task(self._watch_engine(), name="engine load")
        card = self.engine.card
        card.namespace, card.component = self._namespace, self._component
        if isinstance(self.engine, EmbeddingEngine) and "embeddings" not in card.kinds:
            card.kinds = [*card.kinds, "embeddings"]
        self._card = await publish_model(self._runtime, card)

    def generate(self, request: EngineRequest) -> AsyncIterator[EngineOutput]:
        """The engine's deltas. No generator of our own between the engine and the wire: it would cost per token.

        Raises:
            Overloaded: too many requests wait already.
            InvalidRequest: the engine cannot take this one.
        """
        if self._max_waiting is not None and self.engine.load().waiting_requests >= self._max_waiting:
            raise Overloaded(f"{self._max_waiting} requests are waiting already")
        return self.engine.generate(request)

    async def embed(self, request: EmbedRequest) -> EmbedOutput:
        if not isinstance(self.engine, EmbeddingEngine):
            raise RequestError("this engine has no embeddings", param="model")
        return await self.engine.embed(request)

    async def load(self) -> AsyncIterator[EngineLoad]:
        """The load now, and again whenever it has changed."""
        while True:
            changed = self._changed
            yield self._load
            await changed.wait()

    def problem(self) -> str:
        """Why this worker should get no requests; empty when it should."""
        return self._problem

    async def stop(self, grace: float = 0.0) -> None:
        """Withdraw the card, let running requests end within `grace` seconds, stop the engine."""
        if self._card is not None:
            await self._card.remove()
            self._card = None
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self._problem = "stopped"
        await self.engine.stop(grace)

    async def _watch_engine(self) -> None:
        while True:
            load = self.engine.load()
            if load != self._load:
                self._load = EngineLoad(**{name: getattr(load, name) for name in load.__struct_fields__})
                self._metrics.update(self._load)
                self._changed.set()
                self._changed = asyncio.Event()
            if not self._problem and not await self.engine.healthy():
                self._problem = "the engine died"
                logger.error("the engine died; this worker takes no more requests")
            await asyncio.sleep(LOAD_INTERVAL)


class EngineMetrics:
    """The engine's figures under the names of the replica contract."""

    def __init__(self, registry: Registry) -> None:
        def gauge(name: str, help: str) -> Gauge:
            return registry.gauge(f"dynamo_engine_{name}", help).labels()

        self._running = gauge("running_requests", "Requests in the running batch.")
        self._waiting = gauge("waiting_requests", "Requests waiting for room.")
        self._total = gauge("kv_blocks_total", "KV-cache blocks.")
        self._active = gauge("kv_blocks_active", "KV-cache blocks that running requests hold.")
        self._cached = gauge("kv_blocks_cached", "KV-cache blocks that hold reusable prefixes.")
        self._usage = gauge("cache_usage", "Active blocks over all blocks, 0 to 1.")
        self._queries = registry.counter(
            "dynamo_engine_prefix_queries_tokens_total", "Prompt tokens looked up in the prefix cache."
        ).labels()
        self._hits = registry.counter(
            "dynamo_engine_prefix_hits_tokens_total", "Prompt tokens found in the prefix cache."
        ).labels()

    def update(self, load: EngineLoad) -> None:
        self._running.set(load.running_requests)
        self._waiting.set(load.waiting_requests)
        self._total.set(load.total_blocks)
        self._active.set(load.active_blocks)
        self._cached.set(load.cached_blocks)
        self._usage.set(load.cache_usage)
        self._queries.inc(max(0, load.prefix_queries_tokens - self._queries.value))
        self._hits.inc(max(0, load.prefix_hits_tokens - self._hits.value))
