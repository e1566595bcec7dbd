"""A client of one endpoint: knows its instances, chooses one per request, and tries another when that is safe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

from dynamo.runtime.context import current_request
from dynamo.runtime.errors import InstanceUnavailable, NoInstances, Overloaded, RequestError
from dynamo.runtime.gate import Gate
from dynamo.runtime.instances import InstanceSet, OnChange
from dynamo.runtime.keys import instances_prefix
from dynamo.runtime.response import ResponseStream, Retry
from dynamo.runtime.selection import LeastLoaded, Policy, RandomChoice, RoundRobin, Sticky
from dynamo.runtime.status import Instance
from dynamo.runtime.tracing import active, ambient_traceparent
from dynamo.runtime.transport.base import Call

if TYPE_CHECKING:
    from dynamo.runtime.distributed import DistributedRuntime

_ATTEMPTS = 8


class _Tried:
    """Where one request has failed, and until when it is tried further (event loop's clock; 0: not known yet)."""

    __slots__ = ("failed", "until")

    def __init__(self) -> None:
        self.failed: set[int] = set()
        self.until = 0.0


class Client:
    """Made by `Endpoint.client()`; awaiting it waits until it follows discovery, which every call does as well.

    `wait`: seconds that a request waits for a first instance before it fails with `NoInstances`, or for one that can be
    reached before it fails with `InstanceUnavailable`. `limit`:
    requests at once (0: any number); up to `queue` more wait their turn, then `Overloaded` is raised.
    """

    def __init__(
        self,
        runtime: DistributedRuntime,
        namespace: str,
        component: str,
        endpoint: str,
        *,
        wait: float = 10.0,
        limit: int = 0,
        queue: int = 0,
    ) -> None:
        self.path = f"{namespace}/{component}/{endpoint}"
        self._runtime = runtime
        self._plane = runtime.plane
        self._wait = wait
        self._instances = InstanceSet(
            runtime.discovery, instances_prefix(runtime.scope, namespace, component, endpoint)
        )
        depth = runtime.metrics.gauge(
            "dynamo_endpoint_queue_depth",
            "Requests that wait for their turn in this process.",
            ("component", "endpoint"),
        )
        self._gate = Gate(limit, queue, self.path, depth.labels(component, endpoint)) if limit else None
        self._traced = active()
        self._started = False
        self._random = RandomChoice()
        self._round_robin = RoundRobin()
        self._least_loaded = LeastLoaded(lambda instance: self._plane.load(instance.address))
        runtime.own(self)

    def __await__(self) -> Generator[Any, None, Client]:
        return self._start().__await__()

    # -- requests

    async def generate(self, payload: Any = None, **options: Any) -> ResponseStream:
        """Send to the next instance in turn; the same as `round_robin`."""
        return await self._send(self._round_robin, payload, **options)

    async def round_robin(self, payload: Any = None, **options: Any) -> ResponseStream:
        return await self._send(self._round_robin, payload, **options)

    async def random(self, payload: Any = None, **options: Any) -> ResponseStream:
        return await self._send(self._random, payload, **options)

    async def least_loaded(self, payload: Any = None, **options: Any) -> ResponseStream:
        """Send to the instance where this process has the fewest open requests."""
        return await self._send(self._least_loaded, payload, **options)

    async def sticky(self, payload: Any, key: str, **options: Any) -> ResponseStream:
        """Requests with the same key go to the same instance for as long as that is usable."""
        return await self._send(Sticky(key), payload, **options)

    async def direct(self, payload: Any, instance_id: int, **options: Any) -> ResponseStream:
        """Send to this instance and no other. Raises `InstanceUnavailable` when it is not there."""
        if not self._started:
            await self._start()
        instance = self._instances.known.get(instance_id)
        if instance is None:
            await self._first_instance()
            instance = self._instances.known.get(instance_id)
            if instance is None:
                raise InstanceUnavailable("no such instance is registered", endpoint=self.path, instance=instance_id)
        timeout, headers = _headers(self._traced, **options)
        return await self._within_limits(lambda: self._call(instance, payload, headers), None, timeout)

    async def _send(self, policy: Policy, payload: Any, **options: Any) -> ResponseStream:
        timeout, headers = _headers(self._traced, **options)
        tried = _Tried()

        async def retry(error: RequestError) -> Call:
            self._give_up_on(error, tried)
            return await self._choose_and_call(policy, payload, headers, tried)

        return await self._within_limits(lambda: self._choose_and_call(policy, payload, headers, tried), retry, timeout)

    async def _within_limits(
        self, begin: Callable[[], Awaitable[Call]], retry: Retry | None, timeout: float | None
    ) -> ResponseStream:
        gate = self._gate
        if gate is None:
            stream = ResponseStream(await begin(), retry)
        else:
            await gate.enter()
            try:
                stream = ResponseStream(await begin(), retry, gate.leave)
            except BaseException:
                gate.leave()
                raise
        if timeout is not None:
            stream.limit(timeout)
        return stream

    async def _choose_and_call(
        self, policy: Policy, payload: Any, headers: Mapping[str, Any] | None, tried: _Tried
    ) -> Call:
        if not self._started:
            await self._start()
        while True:
            usable = self._instances.usable or await self._first_instance()
            if tried.failed:
                usable = [instance for instance in usable if instance.instance_id not in tried.failed] or usable
            instance = policy.choose(usable)
            try:
                return await self._call(instance, payload, headers)
            except InstanceUnavailable as error:
                self._give_up_on(error, tried)

    def _call(self, instance: Instance, payload: Any, headers: Mapping[str, Any] | None) -> Awaitable[Call]:
        return self._plane.call(
            instance.address, self.path, payload, headers, instance_id=instance.instance_id, endpoint=self.path
        )

    def _give_up_on(self, error: RequestError, tried: _Tried) -> None:
        """Note that an instance failed this request; raises the error once trying further makes no sense.

        A request that could not be sent at all is tried for as long as one waits for a first instance: all that is
        known may be gone, and what has taken its place not be known yet.
        """
        again = error.instance in tried.failed
        tried.failed.add(error.instance)
        if not isinstance(error, Overloaded):  # busy is not gone: others may still have room there
            self._instances.avoid(error.instance)
        if any(instance.instance_id not in tried.failed for instance in self._instances.usable):
            return
        if isinstance(error, InstanceUnavailable):
            now = asyncio.get_running_loop().time()
            tried.until = tried.until or now + self._wait
            if now >= tried.until:
                raise error
        elif again or isinstance(error, Overloaded) or len(tried.failed) > _ATTEMPTS:
            raise error

    # -- instances

    def instance_ids(self) -> list[int]:
        """The ids of all registered instances, in no particular order."""
        return list(self._instances.known)

    def instances(self) -> list[Instance]:
        """All registered instances."""
        return list(self._instances.known.values())

    async def wait_for_instances(self, timeout: float | None = None) -> list[int]:
        """The instance ids, once there is one. Raises `NoInstances` after `timeout` seconds (default: the client's)."""
        await self._start()
        await self._first_instance(timeout)
        return self.instance_ids()

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call `callback(ids)` at every change; returns a function that ends that."""
        return self._instances.listen(callback)

    async def updates(self) -> AsyncIterator[list[int]]:
        """The instance ids now, and again after every change."""
        await self._start()
        async for ids in self._instances.updates():
            yield ids

    async def close(self) -> None:
        """Stop following discovery. Requests under way go on."""
        await self._instances.close()
        self._runtime.disown(self)

    async def _start(self) -> Client:
        if not self._started:
            await self._instances.start()
            self._started = True
        return self

    async def _first_instance(self, timeout: float | None = None) -> list[Instance]:
        seconds = self._wait if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds):
                while not self._instances.usable:
                    await self._instances.changed()
        except TimeoutError:
            known = len(self._instances.known)
            state = f"{known} registered, none reachable" if known else "none registered"
            raise NoInstances(f"no instance in {seconds:g} s ({state})", endpoint=self.path) from None
        return self._instances.usable


def _headers(
    traced: bool,
    *,
    timeout: float | None = None,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[float | None, dict[str, Any] | None]:
    """The deadline in seconds and the headers of a call: the serving request's, changed by what was given."""
    serving = current_request()
    traceparent = ambient_traceparent() if traced else ""
    if serving is None:
        if timeout is None and request_id is None and headers is None and not traceparent:
            return None, None
        outgoing: dict[str, Any] = {}
    else:
        outgoing = serving.outgoing()
    if traceparent:
        outgoing["traceparent"] = traceparent
    if request_id is not None:
        outgoing["request_id"] = request_id
    if headers is not None:
        outgoing["headers"] = {**outgoing.get("headers", {}), **headers}
    if timeout is not None:
        outgoing["timeout"] = min(timeout, outgoing.get("timeout", timeout))
    return outgoing.get("timeout"), outgoing
