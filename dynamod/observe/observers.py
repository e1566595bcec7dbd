"""The observers of one engine, started and stopped together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from dynamod.core.errors import NotFound, SlowConsumer
from dynamod.drivers import logfile
from dynamod.observe.kv.feeds import KvFeeds, OpenFeed
from dynamod.observe.kv.history import KvHistory
from dynamod.observe.logs.query import LogSource
from dynamod.observe.metrics.collector import MetricsCollector, OpenStream
from dynamod.observe.metrics.file import MetricsFile
from dynamod.observe.presence import Presence
from dynamod.schema import Action, Locations, Replica

if TYPE_CHECKING:
    from dynamo.runtime.discovery.base import Discovery
    from dynamod.engine import Engine


class Observers:
    """`metrics`, `kv` and the way to logs."""

    def __init__(
        self,
        engine: Engine,
        where: Locations,
        *,
        discovery: Discovery,
        open_metrics: OpenStream,
        open_feed: OpenFeed,
    ) -> None:
        self._engine = engine
        self._where = where
        self.presence = Presence(discovery)
        self._file = MetricsFile(where.metrics_database)
        self.metrics = MetricsCollector(self._file, self.presence, open_metrics)
        self.kv = KvFeeds(self.presence, open_feed, KvHistory(self._file))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Observers]:
        """Observe for as long as the context lasts."""
        parts = (self.presence.run(), self.metrics.run(), self.kv.run(), self._forget_removed())
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._file.close()

    async def log_sources(
        self, project: str, graph: str, service: str | None = None, replica: str | None = None
    ) -> list[LogSource]:
        """The log directories of a graph's replicas.

        Raises:
            NotFound: there is no such graph, service or replica.
        """
        known = await self._engine.graph(project, graph)
        services = [status.name for status in known.services]
        if service is not None and service not in services:
            raise NotFound("service", service, known=services)
        found = await self._replicas(project, graph, service)
        if replica is not None:
            chosen = [one for one in found if one.id == replica]
            if not chosen:
                raise NotFound("replica", replica, known=[one.id for one in found])
            found = chosen
        return [LogSource(one.id, one.service, self._log_dir(one)) for one in found]

    async def _forget_removed(self) -> None:
        """A graph that was removed leaves nothing behind for a later one of its name."""
        while True:
            try:
                async with self._engine.subscribe(None) as events:
                    async for event in events:
                        if event.action is Action.GRAPH_REMOVED and event.project and event.graph:
                            await self.kv.forget(self._engine.scope(event.project, event.graph))
                return
            except SlowConsumer:
                continue

    async def _replicas(self, project: str, graph: str, service: str | None) -> list[Replica]:
        found: list[Replica] = []
        after: str | None = None
        while True:
            page = await self._engine.replicas(project, graph, service, after=after, limit=1000)
            found += page.items
            if page.next is None:
                return found
            after = page.next

    def _log_dir(self, replica: Replica) -> str:
        return logfile.log_dir(str(self._where.replica_dir(replica.id)))
