"""The client of the embedded discovery server.

One task keeps the session: it dials with jittered back-off, grants this client's leases again under their
old ids, puts their keys again, and only then lets other operations through. Watches start over by
themselves and yield `Reset`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dynamo.runtime.discovery.base import Change, KeyValue, Lease, Reset, Snapshot, Watch
from dynamo.runtime.discovery.watching import WatchQueue
from dynamo.runtime.errors import DiscoveryError, EndpointError, LeaseLost, RequestError
from dynamo.runtime.host import host_id
from dynamo.runtime.status import Address
from dynamo.runtime.transport.base import Call
from dynamo.runtime.transport.connection import Limits
from dynamo.runtime.transport.stream import StreamPlane

logger = logging.getLogger(__name__)

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 2.0
T = TypeVar("T")


class LocalLease:
    """A lease that its client keeps: renewed in time, granted again after an outage, with its keys."""

    def __init__(self, owner: LocalDiscovery, lease: int, ttl: float) -> None:
        self._owner = owner
        self._id = lease
        self.ttl = ttl
        self.keys: dict[str, bytes] = {}
        self.gone = asyncio.Event()

    @property
    def id(self) -> int:
        return self._id

    async def lost(self) -> None:
        await self.gone.wait()

    async def revoke(self) -> None:
        await self._owner.revoke(self)


class LocalDiscovery:
    """`Discovery` over the socket of a `LocalDiscoveryServer`. `timeout`: seconds an operation may take."""

    def __init__(self, path: Path, *, timeout: float = 5.0, limits: Limits | None = None) -> None:
        self._path = path
        self._timeout = timeout
        self._plane = StreamPlane(path.parent, limits=limits)
        self._address = Address(host_id=host_id(), unix=str(path))
        self._leases: dict[int, LocalLease] = {}
        self._connected = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @classmethod
    async def connect(cls, path: Path, *, timeout: float = 5.0, limits: Limits | None = None) -> LocalDiscovery:
        """Raises `DiscoveryError` when nobody answers within `timeout` seconds."""
        client = cls(path, timeout=timeout, limits=limits)
        client._own(client._keep_session())
        try:
            await client._ready()
        except BaseException:
            await client.close()
            raise
        return client

    async def grant(self, ttl: float) -> Lease:
        if ttl <= 0:
            raise DiscoveryError(f"a lease needs a time to live above zero, got {ttl}")
        lease = LocalLease(self, secrets.randbits(63) | 1, ttl)
        await self._ask("grant", [lease.id, ttl], int)
        self._leases[lease.id] = lease
        self._own(self._renew(lease))
        return lease

    async def put(self, key: str, value: bytes, lease: Lease | None = None) -> int:
        self._remember(key, value, lease)
        return await self._ask("put", [key, value, lease.id if lease else 0], int)

    async def create(self, key: str, value: bytes, lease: Lease | None = None) -> bool:
        created = await self._ask("create", [key, value, lease.id if lease else 0], bool)
        if created:
            self._remember(key, value, lease)
        return created

    async def get(self, key: str) -> KeyValue | None:
        found: KeyValue | None = await self._ask("get", key, KeyValue | None)  # type: ignore[arg-type]  # a union
        return found

    async def get_prefix(self, prefix: str) -> Snapshot:
        return await self._ask("get_prefix", prefix, Snapshot)

    async def delete(self, key: str) -> bool:
        for lease in self._leases.values():
            lease.keys.pop(key, None)
        return await self._ask("delete", key, bool)

    async def delete_prefix(self, prefix: str) -> int:
        for lease in self._leases.values():
            for key in [key for key in lease.keys if key.startswith(prefix)]:
                del lease.keys[key]
        return await self._ask("delete_prefix", prefix, int)

    async def watch(self, prefix: str) -> Watch:
        first: asyncio.Future[WatchQueue] = asyncio.get_running_loop().create_future()
        task = self._own(self._follow(prefix, first))
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(first)
        except TimeoutError:
            task.cancel()
            raise DiscoveryError(f"{self._path}: no answer to a watch in {self._timeout:g} s") from None
        except BaseException:
            task.cancel()
            raise

    async def revoke(self, lease: LocalLease) -> None:
        """End a lease; its keys vanish. What cannot be told to the server ends there with the connection."""
        if self._leases.pop(lease.id, None) is not None:
            lease.gone.set()
            if self._connected.is_set():
                with contextlib.suppress(DiscoveryError):
                    await self._ask("revoke", lease.id, bool)

    async def close(self) -> None:
        if self._closed:
            return
        for lease in list(self._leases.values()):
            await self.revoke(lease)
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._plane.close()

    # -- the session

    async def _keep_session(self) -> None:
        delay = _FIRST_DELAY
        while True:
            try:
                session = await self._plane.call(self._address, "discovery/session", None)
                await session.take()
                await self._restore()
                self._connected.set()
                delay = _FIRST_DELAY
                while await session.take():
                    pass
            except (RequestError, DiscoveryError) as error:
                if self._connected.is_set():
                    logger.warning("discovery at %s is away (%s); keeping what is known", self._path, error)
            self._connected.clear()
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _LONGEST_DELAY)

    async def _restore(self) -> None:
        for lease in list(self._leases.values()):
            await self._restore_lease(lease)

    async def _restore_lease(self, lease: LocalLease) -> None:
        await self._call("grant", [lease.id, lease.ttl])
        for key, value in list(lease.keys.items()):
            await self._call("put", [key, value, lease.id])

    async def _renew(self, lease: LocalLease) -> None:
        """Renew a lease at a third of its time; one that ran out meanwhile (this process was stopped) is restored."""
        while lease.id in self._leases:
            await asyncio.sleep(lease.ttl / 3)
            if not self._connected.is_set() or lease.id not in self._leases:
                continue
            try:
                async with asyncio.timeout(self._timeout):
                    if await self._call("renew", lease.id) is False:
                        logger.warning("lease %x had run out; registering again", lease.id)
                        await self._restore_lease(lease)
            except (RequestError, DiscoveryError, TimeoutError) as error:
                logger.warning("lease %x could not be renewed: %s", lease.id, error)

    async def _follow(self, prefix: str, first: asyncio.Future[WatchQueue]) -> None:
        """Feed one watch, over as many sessions as it takes."""
        queue: WatchQueue | None = None
        task = asyncio.current_task()

        async def stop() -> None:
            if task is not None:
                task.cancel()

        while True:
            await self._connected.wait()
            try:
                call = await self._plane.call(self._address, "discovery/watch", prefix)
                items = await call.take()
                if items:
                    snapshot = msgspec.convert(items[0], Snapshot)
                    if queue is None:
                        queue = WatchQueue(snapshot, stop)
                        if not first.done():
                            first.set_result(queue)
                    else:
                        queue.feed(Reset(snapshot))
                    await _feed(queue, call, items[1:])
            except (RequestError, msgspec.ValidationError) as error:
                logger.debug("watch of %s starts over: %s", prefix, error)
            await asyncio.sleep(_FIRST_DELAY * random.uniform(0.5, 1.0))

    # -- one operation

    async def _ask(self, operation: str, payload: Any, answer: type[T]) -> T:
        if self._closed:
            raise DiscoveryError("this discovery is closed")
        try:
            async with asyncio.timeout(self._timeout):
                await self._connected.wait()
                return msgspec.convert(await self._call(operation, payload), answer)
        except TimeoutError:
            raise DiscoveryError(f"{self._path}: no answer to {operation} in {self._timeout:g} s") from None
        except msgspec.ValidationError as error:
            raise DiscoveryError(f"{self._path}: {operation} was answered with nonsense: {error}") from error
        except RequestError as error:
            raise DiscoveryError(f"{self._path}: {operation} failed: {error.message}") from error

    async def _call(self, operation: str, payload: Any) -> Any:
        call = await self._plane.call(self._address, f"discovery/{operation}", payload)
        try:
            items = await call.take()
        except EndpointError as error:
            if error.error_type == LeaseLost.__name__:
                raise LeaseLost(error.message) from error
            raise
        if not items:
            raise DiscoveryError(f"{self._path}: {operation} was not answered")
        return items[0]

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._connected.wait()
        except TimeoutError:
            raise DiscoveryError(f"no discovery server answers at {self._path}: is the daemon running?") from None

    def _remember(self, key: str, value: bytes, lease: Lease | None) -> None:
        for known in self._leases.values():
            known.keys.pop(key, None)
        if isinstance(lease, LocalLease):
            if lease.id not in self._leases:
                raise LeaseLost(f"cannot put {key}: lease {lease.id:x} is gone")
            lease.keys[key] = value

    def _own(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _feed(queue: WatchQueue, call: Call, items: list[Any]) -> None:
    while True:
        for item in items:
            queue.feed(msgspec.convert(item, Change))
        items = await call.take()
        if not items:
            return
