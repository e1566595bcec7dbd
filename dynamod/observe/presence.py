"""Who is there: replicas and KV feeds of every graph, as discovery tells it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from dynamo.runtime import keys
from dynamo.runtime.discovery.base import Discovery, KeyValue, Reset
from dynamo.runtime.status import Instance, ReplicaStatus, decode_instance, decode_status
from dynamo.sdk.spec import UNREADABLE

FEED_ENDPOINT = "kv_feed"
RETRY_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PresentReplica:
    """`scope` is `<project>/<graph>`."""

    scope: str
    status: ReplicaStatus


@dataclass(frozen=True)
class PresentFeed:
    scope: str
    instance: Instance


class Presence:
    """Keeps `replicas` (by replica id) and `feeds` (by key) current while `run` runs, and tells its listeners."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._listeners: list[Callable[[], None]] = []
        self.replicas: dict[str, PresentReplica] = {}
        self.feeds: dict[str, PresentFeed] = {}
        self._replica_of_key: dict[str, str] = {}

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change, from the event loop."""
        self._listeners.append(listener)

    def of_scope(self, scope: str) -> list[PresentReplica]:
        return [replica for replica in self.replicas.values() if replica.scope == scope]

    def replica_of_instance(self, scope: str, instance_id: int) -> PresentReplica | None:
        for replica in self.replicas.values():
            if replica.scope == scope and replica.status.instance_id == instance_id:
                return replica
        return None

    async def run(self) -> None:
        """Watch until cancelled; a lost watch is begun again."""
        while True:
            try:
                await self._watch()
            except Exception as error:
                _log.warning("discovery is away, observers keep what they know: %s", error)
            await asyncio.sleep(RETRY_S)

    async def _watch(self) -> None:
        watch = await self._discovery.watch(keys.scope_prefix(""))
        try:
            self._replace(watch.snapshot.items)
            async with aclosing(watch.__aiter__()) as items:  # type: ignore[type-var]
                async for item in items:
                    if isinstance(item, Reset):
                        self._replace(item.snapshot.items)
                    elif item.value is None:
                        self._forget(item.key)
                    else:
                        self._learn(item.key, item.value)
                    self._tell()
        finally:
            await watch.close()

    def _replace(self, items: tuple[KeyValue, ...]) -> None:
        self.replicas.clear()
        self.feeds.clear()
        self._replica_of_key.clear()
        for item in items:
            self._learn(item.key, item.value)
        self._tell()

    def _learn(self, key: str, value: bytes) -> None:
        scope = _scope_of(key)
        if scope is None:
            return
        try:
            if (replica_id := keys.parse_replica_key(scope, key)) is not None:
                self.replicas[replica_id] = PresentReplica(scope, decode_status(value))
                self._replica_of_key[key] = replica_id
            elif (parsed := keys.parse_instance_key(scope, key)) is not None and parsed.endpoint == FEED_ENDPOINT:
                self.feeds[key] = PresentFeed(scope, decode_instance(value))
        except UNREADABLE as error:
            _log.warning("discovery key %s is unreadable: %s", key, error)

    def _forget(self, key: str) -> None:
        self.feeds.pop(key, None)
        replica_id = self._replica_of_key.pop(key, None)
        if replica_id is not None:
            self.replicas.pop(replica_id, None)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def _scope_of(key: str) -> str | None:
    """`<project>/<graph>` of a key `/dynamo/<project>/<graph>/<kind>/…`."""
    parts = key.split("/", 5)
    return f"{parts[2]}/{parts[3]}" if len(parts) == 6 and f"/{parts[1]}" == keys.ROOT else None
