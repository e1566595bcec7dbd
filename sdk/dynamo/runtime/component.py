"""Namespace → Component → Endpoint: names, what is served under them, and clients for them."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from dynamo.runtime.client import Client
from dynamo.runtime.keys import instance_key
from dynamo.runtime.observing import EndpointMetrics
from dynamo.runtime.pubsub import Publisher, Subscription
from dynamo.runtime.status import Instance, InstanceStatus, encode
from dynamo.runtime.transport.base import Handler, HandlerFunction
from dynamo.runtime.transport.codec import converter

if TYPE_CHECKING:
    from dynamo.runtime.distributed import DistributedRuntime, Registration


class Namespace:
    """A set of components that know each other by name."""

    def __init__(self, runtime: DistributedRuntime, name: str) -> None:
        self.runtime = runtime
        self.name = name

    def component(self, name: str) -> Component:
        return Component(self.runtime, self.name, name)

    async def publish(self, subject: str, payload: Any) -> None:
        """Send `payload` to everyone who is subscribed to `subject` now. Raises `DiscoveryError`."""
        (await self.publisher(subject)).publish(payload)

    async def publisher(self, subject: str) -> Publisher:
        """This process's publisher on `subject`, registered. Raises `DiscoveryError`."""
        return await self.runtime.publisher(self.name, subject).start()

    def subscribe(self, subject: str) -> Subscription:
        """The payloads published on `subject`: iterate it, or await it first to be connected already."""
        return Subscription(self.runtime, self.name, subject)


class Component:
    """One kind of process of a namespace; its instances serve the same endpoints."""

    def __init__(self, runtime: DistributedRuntime, namespace: str, name: str) -> None:
        self.runtime = runtime
        self.namespace = namespace
        self.name = name

    async def create_service(self) -> None:
        """Make sure that this process can be reached. Serving an endpoint does so too."""
        await self.runtime.plane.listen()

    def endpoint(self, name: str) -> Endpoint:
        return Endpoint(self.runtime, self.namespace, self.name, name)


class Endpoint:
    """A name that requests are sent to."""

    def __init__(self, runtime: DistributedRuntime, namespace: str, component: str, name: str) -> None:
        self.runtime = runtime
        self.namespace = namespace
        self.component = component
        self.name = name

    @property
    def path(self) -> str:
        return f"{self.namespace}/{self.component}/{self.name}"

    async def lease_id(self) -> int:
        """The instance id under which this process serves."""
        return await self.runtime.instance_id()

    def client(self, *, wait: float = 10.0, limit: int = 0, queue: int = 0) -> Client:
        """A client, to be kept: it follows the instances for as long as it lives. May be awaited.

        `wait`: seconds to wait for a first instance; `limit`, `queue`: requests at once, and waiting.
        """
        return Client(self.runtime, self.namespace, self.component, self.name, wait=wait, limit=limit, queue=queue)

    def serve_endpoint(
        self,
        handler: HandlerFunction,
        *,
        request_type: Any = None,
        metadata: dict[str, str] | None = None,
        limit: int = 0,
        endless: bool = False,
    ) -> ServedEndpoint:
        """Serve and register: await the result, which returns once requests can come.

        `handler(payload)` or `handler(payload, context)` is an async generator or a coroutine function.
        `request_type`: what a payload is converted to (a pydantic model, a struct, a dataclass …); one that
        does not fit is refused with `InvalidPayload`. `limit`: requests at once, 0 for any number.
        `endless`: its streams end with their callers, so a drain does not wait for them.
        """
        return ServedEndpoint(self, handler, request_type, metadata or {}, limit, endless)


class ServedEndpoint:
    """An endpoint that this process serves, once it was awaited, until `stop()` or the runtime's shutdown."""

    def __init__(
        self,
        endpoint: Endpoint,
        function: HandlerFunction,
        request_type: Any,
        metadata: dict[str, str],
        limit: int,
        endless: bool,
    ) -> None:
        self._endpoint = endpoint
        self._runtime = endpoint.runtime
        self._metadata = metadata
        self._registration: Registration | None = None
        self._status: InstanceStatus = "ready"
        self._handler = Handler(
            endpoint.path,
            function,
            wants_context=_wants_context(function),
            observer=EndpointMetrics(endpoint.runtime.metrics, endpoint.component, endpoint.name),
            convert=converter(request_type),
            limit=limit,
            endless=endless,
        )

    def __await__(self) -> Generator[Any, None, ServedEndpoint]:
        return self.start().__await__()

    async def start(self) -> ServedEndpoint:
        """Returns once the endpoint is registered and takes requests. Raises `DiscoveryError`."""
        if self._registration is None:
            runtime = self._runtime
            await runtime.plane.listen()
            self._handler.instance_id = await runtime.instance_id()
            runtime.plane.add(self._handler)
            self._registration = await runtime.register(self._key, self._value)
        return self

    async def set_status(self, status: InstanceStatus) -> None:
        """Say whether requests should come here: clients choose a `busy` instance only where there is no other.

        Raises `DiscoveryError`.
        """
        if status != self._status:
            self._status = status
            if self._registration is not None:
                await self._registration.put()

    async def stop(self) -> None:
        """Leave discovery, then stop taking requests. Running ones go on."""
        if self._registration is not None:
            registration, self._registration = self._registration, None
            await registration.remove()
            self._runtime.plane.remove(self._handler.target)

    def _key(self, instance_id: int) -> str:
        endpoint = self._endpoint
        return instance_key(self._runtime.scope, endpoint.namespace, endpoint.component, endpoint.name, instance_id)

    def _value(self, instance_id: int) -> bytes:
        self._handler.instance_id = instance_id
        instance = Instance(
            instance_id=instance_id,
            namespace=self._endpoint.namespace,
            component=self._endpoint.component,
            endpoint=self._endpoint.name,
            address=self._runtime.address,
            status=self._status,
            metadata=self._metadata,
        )
        return encode(instance)


def _wants_context(function: HandlerFunction) -> bool:
    """Whether a handler takes a second positional argument."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 and (positional[1].default is inspect.Parameter.empty or positional[1].name == "context")
