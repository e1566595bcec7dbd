"""The embedded discovery server: a `Store` served on a Unix socket, over the stream transport itself.

A lease is bound to the connection that granted it: when that closes (the process died), its keys vanish at
once. Because a stopped process keeps its connection open, each lease also has a time to live that its
holder renews. Nothing is written to disk: after a restart, holders grant their leases again under the same
ids and put their keys again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from dynamo.runtime.context import RequestContext
from dynamo.runtime.discovery.base import Change, KeyValue
from dynamo.runtime.discovery.memory import MemoryDiscovery
from dynamo.runtime.discovery.store import Store
from dynamo.runtime.errors import InvalidPayload, LeaseLost
from dynamo.runtime.transport.base import Handler, HandlerFunction
from dynamo.runtime.transport.connection import Limits
from dynamo.runtime.transport.serving import ServingConnection
from dynamo.runtime.transport.stream import StreamPlane

MIN_TTL = 0.1
_WATCH_BACKLOG = 100_000


class _BoundLease:
    """Which connection holds a lease, and when it runs out if nobody renews it."""

    def __init__(self, ttl: float, connection: ServingConnection, timer: asyncio.TimerHandle) -> None:
        self.ttl = ttl
        self.connection = connection
        self.timer = timer


class LocalDiscoveryServer:
    """Serves discovery on the Unix socket `path`. `store` may be used directly in the process that hosts it."""

    def __init__(self, path: Path, *, store: Store | None = None, limits: Limits | None = None) -> None:
        self.path = path
        self.store = store or Store()
        self._limits = limits or Limits()
        self._plane: StreamPlane | None = None
        self._leases: dict[int, _BoundLease] = {}

    async def start(self) -> None:
        """Listen. A socket file that a dead server left is replaced; a living one is an error (`OSError`)."""
        if await _answers(self.path):
            raise FileExistsError(f"{self.path}: another discovery server answers there")
        self.path.unlink(missing_ok=True)
        plane = StreamPlane(self.path.parent, limits=self._limits)
        for name, function in self._operations().items():
            wants_context = name == "grant"
            handler = Handler(f"discovery/{name}", function, wants_context=wants_context)
            plane.add(handler)
        await plane.listen_at(self.path)
        self._plane = plane

    async def stop(self) -> None:
        """Close every connection. Clients keep what they know and try to come back."""
        plane, self._plane = self._plane, None
        if plane is not None:
            await plane.close()
        for lease in list(self._leases.values()):
            lease.timer.cancel()
        self._leases.clear()

    async def __aenter__(self) -> LocalDiscoveryServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def discovery(self) -> MemoryDiscovery:
        """The same store for the process that hosts the server, without the socket."""
        return MemoryDiscovery(self.store)

    # -- operations: payload in, answer out

    def _operations(self) -> dict[str, HandlerFunction]:
        return {
            "session": self._session,
            "grant": self._grant,
            "renew": self._renew,
            "revoke": self._revoke,
            "put": self._put,
            "create": self._create,
            "get": self._get,
            "get_prefix": self._get_prefix,
            "delete": self._delete,
            "delete_prefix": self._delete_prefix,
            "watch": self._watch,
        }

    async def _session(self, _: Any) -> AsyncIterator[int]:
        """Open as long as the connection: how a client learns at once that the server is gone."""
        yield self.store.revision
        await asyncio.get_running_loop().create_future()

    async def _grant(self, payload: Any, context: RequestContext) -> int:
        wanted, ttl = _shape(payload, (int, float | int))
        ttl = max(MIN_TTL, float(ttl))
        lease = self.store.grant(wanted)
        connection = context.peer
        known = self._leases.pop(lease, None)
        if known is not None:
            known.timer.cancel()
        timer = asyncio.get_running_loop().call_later(ttl, self._expire, lease)
        self._leases[lease] = _BoundLease(ttl, connection, timer)
        connection.on_close(lambda: self._connection_closed(lease, connection))
        return lease

    async def _renew(self, payload: Any) -> bool:
        """Whether the lease was still there."""
        lease = _int(payload)
        bound = self._leases.get(lease)
        if bound is None:
            return False
        bound.timer.cancel()
        bound.timer = asyncio.get_running_loop().call_later(bound.ttl, self._expire, lease)
        return True

    async def _revoke(self, payload: Any) -> bool:
        return self._end(_int(payload))

    async def _put(self, payload: Any) -> int:
        key, value, lease = _shape(payload, (str, bytes, int))
        return self.store.put(key, value, lease)

    async def _create(self, payload: Any) -> bool:
        key, value, lease = _shape(payload, (str, bytes, int))
        if lease and not self.store.has_lease(lease):
            raise LeaseLost(f"cannot create {key}: lease {lease:x} is gone")
        return self.store.create(key, value, lease)

    async def _get(self, payload: Any) -> KeyValue | None:
        return self.store.get(_str(payload))

    async def _get_prefix(self, payload: Any) -> Any:
        return self.store.get_prefix(_str(payload))

    async def _delete(self, payload: Any) -> bool:
        return self.store.delete(_str(payload))

    async def _delete_prefix(self, payload: Any) -> int:
        return self.store.delete_prefix(_str(payload))

    async def _watch(self, payload: Any) -> AsyncIterator[Any]:
        """The snapshot, then every change. A reader that falls too far behind is cut off and starts over."""
        changes: deque[Change] = deque()
        arrived = asyncio.Event()

        def feed(change: Change) -> None:
            changes.append(change)
            arrived.set()

        number, snapshot = self.store.watch(_str(payload), feed)
        try:
            yield snapshot
            while True:
                await arrived.wait()
                arrived.clear()
                if len(changes) > _WATCH_BACKLOG:
                    return
                while changes:
                    yield changes.popleft()
        finally:
            self.store.unwatch(number)

    # -- the end of leases

    def _connection_closed(self, lease: int, connection: ServingConnection) -> None:
        bound = self._leases.get(lease)
        if bound is not None and bound.connection is connection and self._plane is not None:
            self._end(lease)

    def _expire(self, lease: int) -> None:
        self._end(lease)

    def _end(self, lease: int) -> bool:
        bound = self._leases.pop(lease, None)
        if bound is not None:
            bound.timer.cancel()
        return self.store.revoke(lease)


async def _answers(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _shape(payload: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(payload, list) or len(payload) != len(kinds):
        raise InvalidPayload(f"expected {len(kinds)} values")
    for value, kind in zip(payload, kinds, strict=True):
        if not isinstance(value, kind):
            raise InvalidPayload(f"expected {kind}, got {type(value).__name__}")
    return tuple(payload)


def _int(payload: Any) -> int:
    if not isinstance(payload, int):
        raise InvalidPayload(f"expected a lease id, got {type(payload).__name__}")
    return payload


def _str(payload: Any) -> str:
    if not isinstance(payload, str):
        raise InvalidPayload(f"expected a key, got {type(payload).__name__}")
    return payload
