"""Discovery inside one process: for tests, for a single component run by hand, and for the engine's own store."""

from __future__ import annotations

import asyncio

from dynamo.runtime.discovery.base import KeyValue, Lease, Snapshot, Watch
from dynamo.runtime.discovery.store import Store
from dynamo.runtime.discovery.watching import WatchQueue
from dynamo.runtime.errors import DiscoveryError

_named: dict[str, Store] = {}


def named_store(name: str) -> Store:
    """The store that `memory://<name>` means in this process."""
    return _named.setdefault(name, Store())


class MemoryLease:
    """A lease of a store in this process: it lives until it is revoked, or its discovery is closed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gone = asyncio.Event()
        self._id = store.grant(on_end=self._gone.set)

    @property
    def id(self) -> int:
        return self._id

    async def lost(self) -> None:
        await self._gone.wait()

    async def revoke(self) -> None:
        self._store.revoke(self._id)


class MemoryDiscovery:
    """`Discovery` over a `Store` that lives in this process. Closing it ends its leases and watches."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._leases: list[MemoryLease] = []
        self._watches: set[WatchQueue] = set()
        self._closed = False

    async def grant(self, ttl: float) -> Lease:
        self._check()
        if ttl <= 0:
            raise DiscoveryError(f"a lease needs a time to live above zero, got {ttl}")
        lease = MemoryLease(self._store)
        self._leases.append(lease)
        return lease

    async def put(self, key: str, value: bytes, lease: Lease | None = None) -> int:
        self._check()
        return self._store.put(key, value, lease.id if lease else 0)

    async def create(self, key: str, value: bytes, lease: Lease | None = None) -> bool:
        self._check()
        return self._store.create(key, value, lease.id if lease else 0)

    async def get(self, key: str) -> KeyValue | None:
        self._check()
        return self._store.get(key)

    async def get_prefix(self, prefix: str) -> Snapshot:
        self._check()
        return self._store.get_prefix(prefix)

    async def delete(self, key: str) -> bool:
        self._check()
        return self._store.delete(key)

    async def delete_prefix(self, prefix: str) -> int:
        self._check()
        return self._store.delete_prefix(prefix)

    async def watch(self, prefix: str) -> Watch:
        self._check()
        early: list[WatchQueue] = []

        async def stop() -> None:
            self._store.unwatch(number)
            self._watches.discard(queue)

        number, snapshot = self._store.watch(prefix, lambda change: early[0].feed(change))
        queue = WatchQueue(snapshot, stop)
        early.append(queue)
        self._watches.add(queue)
        return queue

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for lease in self._leases:
            await lease.revoke()
        for watch in list(self._watches):
            await watch.close()

    def _check(self) -> None:
        if self._closed:
            raise DiscoveryError("this discovery is closed")
