"""What every worker does around its engine: serve it, tell what it caches and how loaded it is, publish its card."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dynamo.llm.engines.base import Engine, EngineOutput, EngineRequest, Progress
from dynamo.llm.errors import RequestError
from dynamo.llm.pipeline import EmbedOutput, EmbedRequest
from dynamo.llm.registration import publish_model
from dynamo.runtime.errors import Overloaded

if TYPE_CHECKING:
    from dynamo.llm.kv.events import KvEventPublisher
    from dynamo.runtime import DistributedRuntime
    from dynamo.runtime.distributed import Registration

logger = logging.getLogger(__name__)

HEALTH_INTERVAL = 0.5
"""Seconds between looks at the engine's health."""


@runtime_checkable
class EmbeddingEngine(Protocol):
    """An engine that embeds; its card has the kind "embeddings" where its model does."""

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
        self._component = runtime.namespace(namespace).component(component)
        self._max_waiting = max_waiting
        self._card: Registration | None = None
        self._watch: asyncio.Task[None] | None = None
        self._problem = "starting"
        self._events: KvEventPublisher | None = None

    async def start(self, progress: Progress) -> None:
        """Start the engine, then publish its card. Engine errors pass through."""
        # Processes that only name this service as their dependency import no numpy with it.
        from dynamo.llm.kv.events import KvEventPublisher, register_engine_metrics

        await self.engine.start(progress)
        self._events = KvEventPublisher(self.engine)  # before the first request, so before the first block
        self._problem = ""
        self._watch = asyncio.create_task(self._watch_engine(), name="engine health")
        register_engine_metrics(self.engine, self._runtime.metrics)
        await self._events.serve(self._component)
        card = self.engine.card
        card.namespace, card.component = self._component.namespace, self._component.name
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

    def problem(self) -> str:
        """Why this worker should get no requests; empty when it should."""
        return self._problem

    async def stop(self, grace: float = 0.0) -> None:
        """Withdraw the card, let running requests end within `grace` seconds, stop the engine."""
        if self._card is not None:
            await self._card.remove()
            self._card = None
        if self._events is not None:
            await self._events.close()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        self._problem = "stopped"
        await self.engine.stop(grace)

    async def _watch_engine(self) -> None:
        while not self._problem:
            await asyncio.sleep(HEALTH_INTERVAL)
            if not await self.engine.healthy():
                self._problem = "the engine died"
                logger.error("the engine died; this worker takes no more requests")
