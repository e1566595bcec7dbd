"""`DistributedRuntime`: one process's place in a graph. It owns discovery, the lease, the request plane and clients."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from dynamo.runtime.component import Namespace
from dynamo.runtime.discovery import open_discovery
from dynamo.runtime.discovery.base import Discovery, Lease
from dynamo.runtime.errors import DiscoveryError, LeaseLost
from dynamo.runtime.keys import replica_key
from dynamo.runtime.metrics import Registry, default_registry
from dynamo.runtime.peer import Peer
from dynamo.runtime.pubsub import Publisher
from dynamo.runtime.settings import Settings, from_environment
from dynamo.runtime.status import Address, ReplicaStatus, encode
from dynamo.runtime.system import system_handlers
from dynamo.runtime.transport.base import RequestPlane
from dynamo.runtime.transport.planes import open_plane

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
_REGISTER_SECONDS = 20.0


class Closable(Protocol):
    async def close(self) -> None: ...


class Registration:
    """One key that this process holds under its lease; it is put again after a lost lease, under the new id."""

    def __init__(
        self, runtime: DistributedRuntime, make_key: Callable[[int], str], make_value: Callable[[int], bytes]
    ) -> None:
        self._runtime = runtime
        self._make_key = make_key
        self._make_value = make_value

    async def put(self) -> None:
        """Write the present value. Raises `DiscoveryError`."""
        await self._runtime.put_registration(self._make_key, self._make_value)

    def item(self, instance_id: int) -> tuple[str, bytes]:
        """The key and its present value."""
        return self._make_key(instance_id), self._make_value(instance_id)

    async def remove(self) -> None:
        """Take the key out of discovery."""
        await self._runtime.remove_registration(self, self._make_key)


class DistributedRuntime:
    """Made by `connect`. Usable as an async context manager; `shutdown` ends everything that it started."""

    def __init__(self, settings: Settings, discovery: Discovery, plane: RequestPlane, metrics: Registry) -> None:
        self.scope = settings.scope
        self.discovery = discovery
        self.plane = plane
        self.metrics = metrics
        self._settings = settings
        self._lease: Lease | None = None
        self._granting = asyncio.Lock()
        self._lease_watch: asyncio.Task[None] | None = None
        self._registrations: list[Registration] = []
        self._status: Registration | None = None
        self._reported: ReplicaStatus | None = None
        self._publishers: dict[tuple[str, str], Publisher] = {}
        self._owned: list[Closable] = []
        self._cleanup: list[Callable[[], Awaitable[None]]] = []
        self._ended = asyncio.Event()
        self._closing = False

    @classmethod
    async def connect(
        cls,
        discovery: str | None = None,
        *,
        scope: str | None = None,
        request_plane: str | None = None,
        run_dir: Path | None = None,
        tcp_host: str | None = None,
        metrics: Registry | None = None,
        settings: Settings | None = None,
    ) -> DistributedRuntime:
        """Open discovery and the request plane. What is not given comes from the environment, then `memory://`.

        Raises `ConfigurationError`, or `DiscoveryError` or `PlaneUnreachable` when a server does not answer.
        """
        base = settings or from_environment()
        chosen = Settings(
            discovery=base.discovery if discovery is None else discovery,
            scope=base.scope if scope is None else scope,
            request_plane=base.request_plane if request_plane is None else request_plane,
            run_dir=base.run_dir if run_dir is None else run_dir,
            tcp_host=base.tcp_host if tcp_host is None else tcp_host,
            tcp_any=base.tcp_any,
            nats_server=base.nats_server,
            lease_ttl=base.lease_ttl,
            limits=base.limits,
        )
        store = await open_discovery(chosen.discovery)
        directory = tempfile.mkdtemp(prefix="dynamo-") if chosen.run_dir is None else ""
        try:
            plane = await open_plane(chosen, chosen.run_dir or Path(directory))
        except BaseException:
            await store.close()
            raise
        registry = default_registry() if metrics is None else metrics
        runtime = cls(chosen, store, plane, registry)
        for handler in system_handlers(registry):
            plane.add(handler)
        if directory:
            runtime._at_end(lambda: shutil.rmtree(directory, ignore_errors=True))
        return runtime

    async def __aenter__(self) -> DistributedRuntime:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    # -- names

    def namespace(self, name: str) -> Namespace:
        return Namespace(self, name)

    def publisher(self, namespace: str, subject: str) -> Publisher:
        """The one publisher of this process on a subject."""
        return self._publishers.setdefault((namespace, subject), Publisher(self, namespace, subject))

    def peer(self, address: Address) -> Peer:
        """Calls to one process at its address, whatever it has registered."""
        return Peer(self.plane, address)

    # -- this process

    @property
    def address(self) -> Address:
        """Where this process is reached; complete once it serves."""
        return self.plane.address

    @property
    def serving(self) -> bool:
        """Whether something of this process is registered."""
        return bool(self._registrations)

    async def instance_id(self) -> int:
        """The id of this process's lease, granted at the first call. Raises `DiscoveryError`."""
        return (await self._own_lease()).id

    @property
    def granted_instance_id(self) -> int:
        """As `instance_id`, without asking for it: 0 before the lease is granted and while it is renewed."""
        return self._lease.id if self._lease is not None else 0

    def registered(self) -> dict[str, str]:
        """What this process holds in discovery, by key: for observers that reach the process and not the store."""
        lease = self._lease
        if lease is None:
            return {}
        return {key: value.decode() for key, value in (held.item(lease.id) for held in self._registrations)}

    async def report(self, status: ReplicaStatus) -> None:
        """Publish this replica's status. While discovery is away the newest report waits for its return."""
        await self.plane.listen()
        lease = await self._own_lease()
        self._reported = _with_identity(status, lease.id, self.address)
        if self._status is None:
            key = replica_key(self.scope, status.replica_id)
            self._status = Registration(self, lambda _: key, self._status_value)
            self._registrations.append(self._status)
        try:
            await self._status.put()
        except DiscoveryError as error:
            logger.warning("the status %r waits for discovery: %s", status.state, error)

    async def register(self, make_key: Callable[[int], str], make_value: Callable[[int], bytes]) -> Registration:
        """Hold a key under this process's lease; both functions get the instance id. Raises `DiscoveryError`.

        A model may have been loading for minutes before it comes to this: discovery that does not answer is given some
        time, and a lease that is lost at that moment is no error, for all that is registered is put under the next one.
        """
        registration = Registration(self, make_key, make_value)
        self._registrations.append(registration)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _REGISTER_SECONDS
        try:
            while True:
                try:
                    await registration.put()
                    return registration
                except LeaseLost as error:
                    logger.warning("registered under the next lease: %s", error)
                    return registration
                except DiscoveryError as error:
                    if loop.time() >= deadline:
                        raise
                    logger.warning("cannot register yet: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
        except BaseException:
            self._registrations.remove(registration)
            raise

    async def drain(self, timeout: float) -> bool:
        """Leave discovery, refuse new requests, wait for the running ones; False when `timeout` was too short."""
        for registration in [r for r in self._registrations if r is not self._status]:
            with contextlib.suppress(DiscoveryError):
                await registration.remove()
        self.plane.drain()
        try:
            async with asyncio.timeout(timeout):
                await self.plane.idle()
        except TimeoutError:
            return False
        return True

    async def shutdown(self) -> None:
        """End everything at once. Idempotent; drain first to be kind to callers."""
        if self._closing:
            await self._ended.wait()
            return
        self._closing = True
        try:
            if self._lease_watch is not None:
                self._lease_watch.cancel()
                await asyncio.gather(self._lease_watch, return_exceptions=True)
            for owned in list(self._owned):
                await owned.close()
            if self._lease is not None:
                with contextlib.suppress(DiscoveryError):
                    await self._lease.revoke()
            await self.plane.close()
            await self.discovery.close()
            for cleanup in self._cleanup:
                await cleanup()
        finally:
            self._ended.set()

    async def until_shutdown(self) -> None:
        """Returns when `shutdown` is done."""
        await self._ended.wait()

    def own(self, part: Closable) -> None:
        """Close `part` at shutdown."""
        self._owned.append(part)

    def disown(self, part: Closable) -> None:
        """`part` was closed already."""
        if part in self._owned:
            self._owned.remove(part)

    # -- the lease and what hangs on it

    async def put_registration(self, make_key: Callable[[int], str], make_value: Callable[[int], bytes]) -> None:
        """Put one key under the present lease (for `Registration`)."""
        lease = await self._own_lease()
        await self.discovery.put(make_key(lease.id), make_value(lease.id), lease)

    async def remove_registration(self, registration: Registration, make_key: Callable[[int], str]) -> None:
        """Take a registration back (for `Registration`)."""
        if registration in self._registrations:
            self._registrations.remove(registration)
        lease = self._lease
        if lease is not None:
            await self.discovery.delete(make_key(lease.id))

    async def _own_lease(self) -> Lease:
        async with self._granting:
            if self._lease is None:
                self._lease = await self.discovery.grant(self._settings.lease_ttl)
                if self._lease_watch is None:
                    self._lease_watch = asyncio.get_running_loop().create_task(self._keep_lease())
            return self._lease

    async def _keep_lease(self) -> None:
        """When the backend lost the lease for good, take a new one and register everything again."""
        while self._lease is not None:
            await self._lease.lost()
            logger.warning("lease %x is lost; registering again", self._lease.id)
            self._lease = None
            while self._lease is None:
                try:
                    for registration in list(self._registrations):
                        await registration.put()
                    await self._own_lease()
                except DiscoveryError as error:
                    logger.warning("cannot register again yet: %s", error)
                    self._lease = None
                    await asyncio.sleep(_RETRY_SECONDS)

    def _status_value(self, instance_id: int) -> bytes:
        assert self._reported is not None
        return encode(_with_identity(self._reported, instance_id, self.address))

    def _at_end(self, function: Callable[[], Any]) -> None:
        async def run() -> None:
            await asyncio.to_thread(function)

        self._cleanup.append(run)


def _with_identity(status: ReplicaStatus, instance_id: int, address: Address) -> ReplicaStatus:
    return msgspec.structs.replace(status, instance_id=instance_id, address=address)
