"""`EtcdClient` and `EtcdKvCache` of the bindings, on whichever discovery store the process uses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dynamo.runtime.discovery.base import Discovery, Reset, Watch
from dynamo.runtime.errors import DiscoveryError

if TYPE_CHECKING:
    from dynamo.runtime.distributed import DistributedRuntime


class EtcdClient:
    """Key-value calls on the discovery store. A key put with a lease id lives as long as this process's lease."""

    def __init__(self, runtime: DistributedRuntime, lease_id: int) -> None:
        self.discovery = runtime.discovery
        self._runtime = runtime
        self._lease_id = lease_id
        self._leased: dict[str, bytes] = {}

    def primary_lease_id(self) -> int:
        return self._lease_id

    async def kv_create(self, key: str, value: bytes, lease_id: int | None = None) -> None:
        """Raises `DiscoveryError` when the key exists."""
        if not await self.discovery.create(key, value):
            raise DiscoveryError(f"{key} exists already")
        if lease_id:
            await self.kv_put(key, value, lease_id)

    async def kv_create_or_validate(self, key: str, value: bytes, lease_id: int | None = None) -> None:
        """Raises `DiscoveryError` when the key exists with another value."""
        known = await self.discovery.get(key)
        if known is None:
            await self.kv_create(key, value, lease_id)
        elif known.value != value:
            raise DiscoveryError(f"{key} exists with another value")

    async def kv_put(self, key: str, value: bytes, lease_id: int | None = None) -> None:
        if not lease_id:
            await self.discovery.put(key, value)
        elif key in self._leased:
            self._leased[key] = value
            await self._runtime.put_registration(lambda _: key, lambda _: value)
        else:
            self._leased[key] = value
            await self._runtime.register(lambda _: key, lambda _: self._leased[key])

    async def kv_get_prefix(self, prefix: str) -> list[dict[str, Any]]:
        """Maps with `key`, `value`, `mod_revision` and `lease`."""
        snapshot = await self.discovery.get_prefix(prefix)
        return [
            {"key": item.key, "value": item.value, "mod_revision": item.revision, "lease": item.lease}
            for item in snapshot.items
        ]


class EtcdKvCache:
    """A local copy of the keys below a prefix, kept up to date by a watch. Keys are given without the prefix."""

    def __init__(self, client: EtcdClient, prefix: str, watch: Watch) -> None:
        self._client = client
        self._discovery: Discovery = client.discovery
        self._prefix = prefix
        self._watch = watch
        self._items = {item.key: item.value for item in watch.snapshot.items}
        self._task = asyncio.get_running_loop().create_task(self._follow())

    @staticmethod
    async def new(etcd_client: EtcdClient, prefix: str, initial_values: Mapping[str, str | bytes]) -> EtcdKvCache:
        """Put the initial values that are not there yet, then follow the prefix. Raises `DiscoveryError`."""
        for key, value in initial_values.items():
            await etcd_client.discovery.create(prefix + key, _bytes(value))
        return EtcdKvCache(etcd_client, prefix, await etcd_client.discovery.watch(prefix))

    create = new

    async def get(self, key: str) -> bytes | None:
        return self._items.get(self._full(key))

    async def get_all(self) -> dict[str, bytes]:
        """Every value by its full key."""
        return dict(self._items)

    async def put(self, key: str, value: str | bytes, lease_id: int | None = None) -> None:
        full = self._full(key)
        await self._client.kv_put(full, _bytes(value), lease_id)
        self._items[full] = _bytes(value)

    async def delete(self, key: str) -> None:
        full = self._full(key)
        await self._discovery.delete(full)
        self._items.pop(full, None)

    async def clear_all(self) -> None:
        await self._discovery.delete_prefix(self._prefix)
        self._items.clear()

    async def close(self) -> None:
        """Stop following; the keys stay."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._watch.close()

    async def _follow(self) -> None:
        async for item in self._watch:
            if isinstance(item, Reset):
                self._items = {entry.key: entry.value for entry in item.snapshot.items}
            elif item.value is None:
                self._items.pop(item.key, None)
            else:
                self._items[item.key] = item.value

    def _full(self, key: str) -> str:
        return key if key.startswith(self._prefix) else self._prefix + key


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
