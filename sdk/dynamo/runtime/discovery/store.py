"""The key-value core behind the memory and local backends: revisions, leases, prefix watches. No I/O, no clock.

A watcher is a callback that gets each change below its prefix in order of revision. Lease ids are random
63-bit numbers, so that they stay unique over restarts of the server that hosts the store.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from dynamo.runtime.discovery.base import Change, KeyValue, Snapshot
from dynamo.runtime.errors import LeaseLost

Watcher = Callable[[Change], None]


class Store:
    """One discovery store. Every method is synchronous and atomic: nothing can happen in between."""

    def __init__(self) -> None:
        self.revision = 0
        self._items: dict[str, KeyValue] = {}
        self._leases: dict[int, set[str]] = {}
        self._on_lease_end: dict[int, list[Callable[[], None]]] = {}
        self._watchers: dict[int, tuple[str, Watcher]] = {}
        self._next_watcher = 0

    def get(self, key: str) -> KeyValue | None:
        return self._items.get(key)

    def get_prefix(self, prefix: str) -> Snapshot:
        items = sorted((item for key, item in self._items.items() if key.startswith(prefix)), key=lambda i: i.key)
        return Snapshot(revision=self.revision, items=tuple(items))

    def put(self, key: str, value: bytes, lease: int = 0) -> int:
        """The new revision. Raises `LeaseLost` when the lease is not there."""
        if lease and lease not in self._leases:
            raise LeaseLost(f"cannot put {key}: lease {lease:x} is gone")
        known = self._items.get(key)
        if known is not None and known.lease != lease and known.lease in self._leases:
            self._leases[known.lease].discard(key)
        if lease:
            self._leases[lease].add(key)
        self.revision += 1
        self._items[key] = KeyValue(key=key, value=value, revision=self.revision, lease=lease)
        self._notify(Change(kind="put", key=key, revision=self.revision, value=value))
        return self.revision

    def create(self, key: str, value: bytes, lease: int = 0) -> bool:
        if key in self._items:
            return False
        self.put(key, value, lease)
        return True

    def delete(self, key: str) -> bool:
        item = self._items.pop(key, None)
        if item is None:
            return False
        if item.lease in self._leases:
            self._leases[item.lease].discard(key)
        self.revision += 1
        self._notify(Change(kind="delete", key=key, revision=self.revision))
        return True

    def delete_prefix(self, prefix: str) -> int:
        return sum(self.delete(key) for key in [key for key in self._items if key.startswith(prefix)])

    def grant(self, lease: int = 0, on_end: Callable[[], None] | None = None) -> int:
        """A lease, new or (for a holder that reconnects) of the given id. `on_end` is called when it is revoked."""
        lease = lease or secrets.randbits(63) | 1
        self._leases.setdefault(lease, set())
        if on_end is not None:
            self._on_lease_end.setdefault(lease, []).append(on_end)
        return lease

    def has_lease(self, lease: int) -> bool:
        return lease in self._leases

    def revoke(self, lease: int) -> bool:
        """End a lease and delete its keys."""
        keys = self._leases.pop(lease, None)
        if keys is None:
            return False
        for key in sorted(keys):
            self.delete(key)
        for callback in self._on_lease_end.pop(lease, ()):
            callback()
        return True

    def watch(self, prefix: str, watcher: Watcher) -> tuple[int, Snapshot]:
        """A watch's number and what is there now; the watcher sees every change after that."""
        self._next_watcher += 1
        self._watchers[self._next_watcher] = (prefix, watcher)
        return self._next_watcher, self.get_prefix(prefix)

    def unwatch(self, number: int) -> None:
        self._watchers.pop(number, None)

    def _notify(self, change: Change) -> None:
        for prefix, watcher in list(self._watchers.values()):
            if change.key.startswith(prefix):
                watcher(change)
