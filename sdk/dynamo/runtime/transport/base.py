"""What a request plane is: how a request reaches an instance and its answer comes back.

`stream` dials the instance (Unix socket or TCP); `nats` goes through a broker. Clients, endpoints and
events know only this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from dynamo.runtime.context import RequestContext
from dynamo.runtime.errors import RequestError
from dynamo.runtime.status import Address

HandlerFunction = Callable[..., Any]
"""`handler(payload)` or `handler(payload, context)`: an async generator, or a coroutine for a single item."""


class Observer(Protocol):
    """What is told about the requests of one endpoint (metrics, traces)."""

    def begin(self, context: RequestContext, /) -> Any:
        """A request starts; returns what `end` gets back."""
        ...

    def end(self, token: Any, items: int, sent: int, error: str, /) -> None:
        """It ended after `items` items of `sent` bytes together; `error` is "" or the error's type."""
        ...


class Unobserved:
    """Nobody watches: what built-in targets use, to stay out of the figures that they report."""

    def begin(self, _context: RequestContext, /) -> Any:
        return None

    def end(self, _token: Any, _items: int, _sent: int, _error: str, /) -> None:
        return None


class Handler:
    """One served target: the function, how its payload is read, and who watches."""

    __slots__ = (
        "convert",
        "endless",
        "function",
        "instance_id",
        "limit",
        "observer",
        "running",
        "target",
        "wants_context",
    )

    def __init__(
        self,
        target: str,
        function: HandlerFunction,
        *,
        wants_context: bool,
        observer: Observer | None = None,
        convert: Callable[[Any], Any] | None = None,
        instance_id: int = 0,
        limit: int = 0,
        endless: bool = False,
    ) -> None:
        self.target = target
        self.function = function
        self.wants_context = wants_context
        self.convert = convert
        self.observer: Observer = observer or Unobserved()
        self.instance_id = instance_id
        self.limit = limit  # requests at once, 0 for any number
        self.endless = endless  # streams that follow something and end with their caller: a drain does not wait
        self.running = 0

    def start(self, payload: Any, context: RequestContext) -> Any:
        """Call the function: an async iterator or an awaitable. Raises `InvalidPayload`."""
        if self.convert is not None:
            payload = self.convert(payload)
        return self.function(payload, context) if self.wants_context else self.function(payload)


class Call:
    """The caller's end of one request. The plane `put`s items and calls `finish`; one reader takes them.

    A plane subclasses it to send credit (`taken`) and cancellation (`cancel`).
    """

    __slots__ = ("__weakref__", "ended", "error", "instance_id", "items", "waiter")

    def __init__(self, instance_id: int = 0) -> None:
        self.items: list[Any] = []
        self.waiter: asyncio.Future[None] | None = None
        self.ended = False
        self.error: RequestError | None = None
        self.instance_id = instance_id

    def put(self, item: Any) -> None:
        self.items.append(item)
        self.wake()

    def finish(self, error: RequestError | None = None) -> None:
        """No more items. Idempotent: the first reason stays."""
        if not self.ended:
            self.ended = True
            self.error = error
            self.wake()

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def arrival(self) -> None:
        """Returns when an item or the end is there. A reader that is cancelled here has given up the call."""
        waiter = self.waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def take(self) -> list[Any]:
        """All items that have arrived, waiting for the first; empty at the end. Raises the call's error."""
        while not self.items:
            if self.ended:
                if self.error is not None:
                    raise self.error
                return []
            await self.arrival()
        items = self.items
        self.items = []
        if not self.ended:
            self.taken(len(items))
        return items

    def taken(self, count: int) -> None:
        """The reader took `count` items."""

    def cancel(self) -> None:
        """The reader wants no more. Idempotent."""


class RequestPlane(Protocol):
    """One process's access to the request plane, as caller and as server."""

    @property
    def address(self) -> Address:
        """How others reach this process; complete once `listen` returned."""
        ...

    async def listen(self) -> Address:
        """Accept requests. Idempotent."""
        ...

    def add(self, handler: Handler) -> None:
        """Serve a target. Raises `ValueError` when it is served already."""
        ...

    def remove(self, target: str) -> None: ...

    async def call(
        self,
        address: Address,
        target: str,
        payload: Any,
        headers: Mapping[str, Any] | None = None,
        *,
        instance_id: int = 0,
        endpoint: str = "",
    ) -> Call:
        """Send a request. Raises `InstanceUnavailable` (nothing was sent), `InvalidPayload`, `FrameTooLarge`."""
        ...

    def load(self, address: Address) -> int:
        """Requests that this process has open at `address`."""
        ...

    def drain(self) -> None:
        """Refuse new requests; running ones go on."""
        ...

    async def idle(self) -> None:
        """Returns once no request is being served."""
        ...

    async def close(self) -> None: ...
