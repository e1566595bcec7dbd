"""The client behind a dependency: `self.backend.generate(payload)`.

It adds next to nothing to the runtime's client. Callers are made once per endpoint and kept in the
instance, the runtime's client lives as long as the replica, and items pass through untouched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

from dynamo.sdk.context import server_context
from dynamo.sdk.errors import NotRunningError, UnknownEndpointError

if TYPE_CHECKING:
    from dynamo.sdk.endpoints import Endpoint
    from dynamo.sdk.services import Service

FIRST_INSTANCE_WAIT = 60.0
"""Seconds that a request waits for the first instance of its endpoint: a cold start is no error."""


class DependencyClient:
    """Calls the endpoints of one service; each is an attribute. Names with `/` are read through `endpoint(name)`."""

    def __init__(self, service: Service[Any]) -> None:
        self._service = service
        self._callers: dict[str, EndpointCaller] = {}
        # An endpoint may bear the name of one of the two methods below; the endpoint wins.
        for name in {"open", "endpoint"} & set(service.get_endpoints()):
            self.__dict__[name] = DependencyClient.endpoint(self, name)

    def __getattr__(self, name: str) -> EndpointCaller:
        if name.startswith("__"):
            raise AttributeError(name)
        caller = DependencyClient.endpoint(self, name)
        self.__dict__[name] = caller
        return caller

    def endpoint(self, name: str) -> EndpointCaller:
        """The caller of an endpoint, by its name or its method's.

        Raises:
            UnknownEndpointError: (an AttributeError) the service does not offer it on the request plane.
        """
        offered = self._service.get_endpoints()
        found = offered.get(name) or next((e for e in offered.values() if e.attribute == name), None)
        callable_names = [e.name for e in offered.values() if e.on_request_plane]
        if found is None:
            raise UnknownEndpointError(
                f"service {self._service.name!r} has no endpoint {name!r}; it has {', '.join(callable_names) or 'none'}"
            )
        if not found.on_request_plane:
            raise UnknownEndpointError(
                f"endpoint {name!r} of service {self._service.name!r} is served over HTTP only; add @endpoint() to "
                f"call it from another service; callable are {', '.join(callable_names) or 'none'}"
            )
        if found.name not in self._callers:
            self._callers[found.name] = EndpointCaller(self._service, found)
        return self._callers[found.name]

    async def open(self) -> None:
        """Start watching for instances of every endpoint, so that the first request finds them known."""
        names = [e.name for e in self._service.get_endpoints().values() if e.on_request_plane]
        await asyncio.gather(*(DependencyClient.endpoint(self, name).client() for name in names))

    def __repr__(self) -> str:
        return f"<client of {self._service.name!r}>"


class EndpointCaller:
    """One endpoint of another service. Call it, or choose the instance with `direct`, `random` or `round_robin`."""

    def __init__(self, service: Service[Any], endpoint: Endpoint) -> None:
        self._service = service
        self._endpoint = endpoint
        self._client: Any = None
        self._opening: asyncio.Lock | None = None

    def __call__(self, payload: Any = None, **options: Any) -> Call:
        """A call that starts when it is iterated (a stream) or awaited (a single item).

        Args:
            payload: a pydantic model, anything msgpack can carry, JSON text, or bytes.
            options: passed to the runtime's client, e.g. `timeout` in seconds.
        """
        return Call(self, "generate", payload, options)

    def random(self, payload: Any = None, **options: Any) -> Call:
        """As a call, to a random instance."""
        return Call(self, "random", payload, options)

    def round_robin(self, payload: Any = None, **options: Any) -> Call:
        """As a call, to the instances in turn."""
        return Call(self, "round_robin", payload, options)

    def direct(self, payload: Any, instance_id: int, **options: Any) -> Call:
        """As a call, to that instance and no other."""
        return Call(self, "direct", payload, {"instance_id": instance_id, **options})

    async def client(self) -> Any:
        """The runtime's client of this endpoint, made once.

        Raises:
            NotRunningError: this process runs no replica.
        """
        if self._client is None:
            if self._opening is None:
                self._opening = asyncio.Lock()
            async with self._opening:
                if self._client is None:
                    self._client = await self._connect()
        return self._client

    async def _connect(self) -> Any:
        try:
            runtime = server_context.runtime
        except NotRunningError:
            raise NotRunningError(
                f"{self._service.name}.{self._endpoint.name} was called outside a running replica; "
                "start the graph with `dynamoctl serve`"
            ) from None
        namespace, component = self._service.dynamo_address()
        endpoint = runtime.namespace(namespace).component(component).endpoint(self._endpoint.name)
        return await endpoint.client(wait=FIRST_INSTANCE_WAIT)

    def __repr__(self) -> str:
        return f"<caller of {self._service.name}.{self._endpoint.name}>"


class Call:
    """One request. `async for item in call` streams, `await call` gives the single item."""

    # `__anext__` is a slot of the instance: once the stream is there, iteration calls it directly, without a
    # frame of ours for each item. (The interpreter looks the name up on the type and honours its descriptor.)
    __slots__ = ("__anext__", "_caller", "_how", "_options", "_payload", "_stream")

    __anext__: Callable[[], Awaitable[Any]]

    def __init__(self, caller: EndpointCaller, how: str, payload: Any, options: dict[str, Any]) -> None:
        self._caller = caller
        self._how = how
        self._payload = payload
        self._options = options
        self._stream: Any = None
        self.__anext__ = self._first

    def __aiter__(self) -> Call:
        return self

    def __await__(self) -> Generator[Any, None, Any]:
        return self._single().__await__()

    async def _first(self) -> Any:
        return await (await self.stream()).__anext__()

    async def _single(self) -> Any:
        return await (await self.stream()).one()

    async def stream(self) -> Any:
        """The runtime's response stream; sends the request at the first use."""
        if self._stream is None:
            client = self._caller._client or await self._caller.client()
            self._stream = await getattr(client, self._how)(self._payload, **self._options)
            self.__anext__ = self._stream.__anext__
        return self._stream

    async def aclose(self) -> None:
        """Tell the service that nobody wants the rest."""
        if self._stream is not None:
            await self._stream.aclose()
