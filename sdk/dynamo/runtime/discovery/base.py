"""Discovery: a small key-value store with leases and prefix watch, behind one interface.

Backends: `memory` (one process), `local` (hosted by the engine on a Unix socket, leases bound to the
connection) and `etcd`. Keys are `/`-separated strings, values are bytes. Every change has a revision,
which grows strictly over the whole store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, Protocol

import msgspec


class KeyValue(msgspec.Struct, frozen=True):
    """`revision` is that of the key's last change; `lease` is 0 for a key without one."""

    key: str
    value: bytes
    revision: int
    lease: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """All keys below a prefix as of `revision`."""

    revision: int
    items: tuple[KeyValue, ...]


class Change(msgspec.Struct, frozen=True):
    """One change below a watched prefix. `value` is None for a deletion."""

    kind: Literal["put", "delete"]
    key: str
    revision: int
    value: bytes | None = None


class Reset(msgspec.Struct, frozen=True):
    """The watch lost its place (compaction, server restart): replace everything known by this snapshot."""

    snapshot: Snapshot


WatchItem = Change | Reset


class Lease(Protocol):
    """Keys put under a lease vanish with it. `lost` is awaitable and returns when the lease is gone."""

    @property
    def id(self) -> int: ...

    async def lost(self) -> None: ...

    async def revoke(self) -> None: ...


class Watch(Protocol):
    """A snapshot and every change after it, in order, none missing."""

    @property
    def snapshot(self) -> Snapshot: ...

    def __aiter__(self) -> AsyncIterator[WatchItem]: ...

    async def close(self) -> None: ...


class Discovery(Protocol):
    """One connection to a discovery store.

    Every method raises `DiscoveryError` (unreachable, timed out, refused) and honours its deadline in
    seconds. A backend reconnects by itself; an open watch survives that and yields `Reset` when it had to
    start over.
    """

    async def grant(self, ttl: float) -> Lease: ...

    async def put(self, key: str, value: bytes, lease: Lease | None = None) -> int: ...

    async def create(self, key: str, value: bytes, lease: Lease | None = None) -> bool:
        """Put only if the key does not exist; says whether it did."""
        ...

    async def get(self, key: str) -> KeyValue | None: ...

    async def get_prefix(self, prefix: str) -> Snapshot: ...

    async def delete(self, key: str) -> bool: ...

    async def delete_prefix(self, prefix: str) -> int: ...

    async def watch(self, prefix: str) -> Watch: ...

    async def close(self) -> None: ...
