"""Namespace → Component → Endpoint → Client as the bindings offered them."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from dynamo.runtime.bindings.annotated import AnnotatedStream
from dynamo.runtime.bindings.etcd import EtcdClient
from dynamo.runtime.client import Client
from dynamo.runtime.component import Component, Endpoint, Namespace, ServedEndpoint
from dynamo.runtime.distributed import DistributedRuntime
from dynamo.runtime.keys import instances_prefix
from dynamo.runtime.response import ResponseStream
from dynamo.runtime.status import Instance, decode_instance
from dynamo.runtime.transport.base import HandlerFunction


class BoundLease:
    """What `create_service_with_custom_lease` returned: the lease that the process's endpoints are under."""

    def __init__(self, lease_id: int) -> None:
        self._id = lease_id

    def id(self) -> int:
        return self._id


class LeaseId(int):
    """A lease id for programs that write `endpoint.lease_id()` and for those that await it."""

    def __await__(self) -> Generator[Any, None, int]:
        yield from ()
        return int(self)


class BoundClient:
    """The bindings' client: `generate`, `random`, `round_robin` and `direct` answer with `Annotated` items.

    `annotated=False` in a call gives plain items.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def __await__(self) -> Generator[Any, None, BoundClient]:
        return self._ready().__await__()

    async def generate(self, request: Any, annotated: bool = True, **options: Any) -> AnnotatedStream | ResponseStream:
        return _wrap(await self._client.generate(request, **options), annotated)

    async def random(self, request: Any, annotated: bool = True, **options: Any) -> AnnotatedStream | ResponseStream:
        return _wrap(await self._client.random(request, **options), annotated)

    async def round_robin(
        self, request: Any, annotated: bool = True, **options: Any
    ) -> AnnotatedStream | ResponseStream:
        return _wrap(await self._client.round_robin(request, **options), annotated)

    async def direct(
        self, request: Any, instance_id: int | str, annotated: bool = True, **options: Any
    ) -> AnnotatedStream | ResponseStream:
        return _wrap(await self._client.direct(request, int(instance_id), **options), annotated)

    def instance_ids(self) -> list[int]:
        return self._client.instance_ids()

    async def wait_for_instances(self, timeout: float | None = None) -> list[int]:
        return await self._client.wait_for_instances(timeout)

    endpoint_ids = instance_ids  # their names in 0.1
    wait_for_endpoints = wait_for_instances

    async def close(self) -> None:
        await self._client.close()

    async def _ready(self) -> BoundClient:
        await self._client
        return self


class BoundEndpoint(Endpoint):
    """An endpoint whose clients are the bindings'."""

    def lease_id(self) -> LeaseId:  # type: ignore[override]  # the bindings' stubs said async, and it was not
        """The instance id under which this process serves."""
        return LeaseId(self.runtime.granted_instance_id)

    def client(self, **options: Any) -> Any:
        return BoundClient(super().client(**options))

    def serve_endpoint(self, handler: HandlerFunction, lease: object = None, **options: Any) -> ServedEndpoint:
        """`lease` is what the bindings took there; a process has one lease here, so it changes nothing."""
        for name in ("graceful_shutdown", "metrics_labels", "health_check_payload"):
            options.pop(name, None)
        return super().serve_endpoint(handler, **options)


class BoundComponent(Component):
    """A component with what the bindings offered on it."""

    def endpoint(self, name: str) -> BoundEndpoint:
        return BoundEndpoint(self.runtime, self.namespace, self.name, name)

    async def create_service_with_custom_lease(self, ttl: float) -> BoundLease:
        """The time to live is the process's (`DYN_LEASE_TTL`); `ttl` is accepted and not used."""
        await self.create_service()
        return BoundLease(await self.runtime.instance_id())

    async def list_instances(self) -> list[Instance]:
        prefix = instances_prefix(self.runtime.scope, self.namespace, self.name)
        return [decode_instance(item.value) for item in (await self.runtime.discovery.get_prefix(prefix)).items]


class BoundNamespace(Namespace):
    """A namespace with what the bindings offered on it."""

    def component(self, name: str) -> BoundComponent:
        return BoundComponent(self.runtime, self.name, name)


class BoundRuntime:
    """A `DistributedRuntime` as the bindings showed it; everything else is passed through to the runtime."""

    def __init__(self, runtime: DistributedRuntime, instance_id: int) -> None:
        self.plain = runtime
        self._instance_id = instance_id

    def namespace(self, name: str, path: str = "") -> BoundNamespace:
        return BoundNamespace(self.plain, name)

    def endpoint(self, path: str) -> BoundEndpoint:
        """By path: `namespace.component.endpoint`. Raises `ValueError` for another form."""
        parts = path.removeprefix("dyn://").split(".")
        if len(parts) != 3:
            raise ValueError(f"{path!r} is no endpoint path: expected namespace.component.endpoint")
        return BoundEndpoint(self.plain, *parts)

    def etcd_client(self) -> EtcdClient:
        """The discovery store, whatever it is, under the name that programs know."""
        return EtcdClient(self.plain, self._instance_id)

    def shutdown(self) -> asyncio.Future[None]:
        """Starts the shutdown at once; may be awaited."""
        return asyncio.ensure_future(self.plain.shutdown())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


async def bind(runtime: DistributedRuntime) -> BoundRuntime:
    """The bindings' view of a runtime. Raises `DiscoveryError`: its lease is granted here."""
    return BoundRuntime(runtime, await runtime.instance_id())


def _wrap(stream: ResponseStream, annotated: bool) -> AnnotatedStream | ResponseStream:
    return AnnotatedStream(stream) if annotated else stream
