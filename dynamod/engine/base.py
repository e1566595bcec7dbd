"""What commands and queries stand on: a running engine's parts and its graphs' actors."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from dynamod.core.errors import NotFound, Unavailable
from dynamod.core.records import GraphRecord
from dynamod.engine.actor import GraphActor
from dynamod.engine.core import Core
from dynamod.engine.delegated import DelegatedActor
from dynamod.schema.graphs import Graph


class EngineBase(ABC):
    def __init__(self) -> None:
        self._core: Core | None = None
        self._actors: dict[str, GraphActor | DelegatedActor] = {}
        self._stopping = False
        self._creation = asyncio.Lock()

    @property
    def core(self) -> Core:
        """Raises Unavailable before the engine has started and after it has stopped."""
        if self._core is None:
            raise Unavailable("the engine is not running")
        return self._core

    @property
    def last_seq(self) -> int:
        """The number of the last event; what queries answer includes everything up to it."""
        return self.core.feed.last_seq

    @abstractmethod
    def _adopt_graph(self, record: GraphRecord) -> None:
        """Give a graph its actor."""

    def _open_for_change(self) -> Core:
        if self._stopping:
            raise Unavailable("the engine is stopping")
        return self.core

    def _actor(self, record: GraphRecord) -> GraphActor | DelegatedActor:
        actor = self._actors.get(record.id)
        if actor is None:
            raise NotFound("graph", record.name)
        return actor

    def _view(self, record: GraphRecord) -> Graph:
        return self.core.memory.view(record.id)
