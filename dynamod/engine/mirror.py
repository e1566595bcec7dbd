"""Where replicas meet on a shared discovery (etcd), the engine keeps a copy of it in its own store.

Everything in the engine and its observers reads that one store, so a graph whose other half runs on another
host looks the same to them as one that is all here.
"""

from __future__ import annotations

import asyncio
import logging

from dynamo.runtime.discovery import open_discovery
from dynamo.runtime.discovery.base import Discovery, Reset, Snapshot, Watch
from dynamo.runtime.discovery.store import Store
from dynamo.runtime.errors import ConfigurationError, DiscoveryError
from dynamod.core.errors import Unavailable
from dynamod.tasks import OwnedTasks

log = logging.getLogger(__name__)

ROOT = "/dynamo/"
"""All that the runtime puts into discovery is below this prefix."""


class DiscoveryMirror:
    """A one-way copy of the discovery at `url` into `store`. An outage there leaves the copy as it was."""

    def __init__(self, url: str, store: Store) -> None:
        self.url = url
        self._store = store
        self._tasks = OwnedTasks()
        self._discovery: Discovery | None = None

    async def start(self) -> None:
        """Copy what is there, then follow it.

        Raises:
            Unavailable: the URL names no discovery, or nobody answers there.
        """
        try:
            self._discovery = await open_discovery(self.url)
            watch = await self._discovery.watch(ROOT)
        except (ConfigurationError, DiscoveryError) as error:
            await self.close()
            raise Unavailable(
                f"discovery {self.url}: {error}", remedy="start it, or correct --discovery (etcd://host:2379)"
            ) from None
        self._replace(watch.snapshot)
        self._tasks.start(self._follow(watch), f"mirror of {self.url}")

    async def close(self) -> None:
        await self._tasks.close()
        if self._discovery is not None:
            await self._discovery.close()
            self._discovery = None

    async def _follow(self, watch: Watch) -> None:
        try:
            async for item in watch:
                if isinstance(item, Reset):
                    self._replace(item.snapshot)
                elif item.value is None:
                    self._store.delete(item.key)
                else:
                    self._store.put(item.key, item.value)
        finally:
            await asyncio.shield(watch.close())

    def _replace(self, snapshot: Snapshot) -> None:
        there = {item.key: item.value for item in snapshot.items}
        for known in self._store.get_prefix(ROOT).items:
            if known.key not in there:
                self._store.delete(known.key)
            elif there[known.key] == known.value:
                del there[known.key]
        for key, value in there.items():
            self._store.put(key, value)
