"""State that others mirror: a snapshot, then numbered deltas, over a stream endpoint.

A message is `[number, "snapshot", state]` or `[number, "delta", change]`. A delta's number is its
predecessor's plus one; a snapshot's is that of the last delta it contains. A reader that fell behind gets a
fresh snapshot in place of what it missed; one that sees a gap asks for one by opening the stream again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dynamo.runtime.errors import RequestError
from dynamo.runtime.following import InstanceFollower, Merge
from dynamo.runtime.instances import InstanceSet
from dynamo.runtime.keys import instances_prefix
from dynamo.runtime.response import ResponseStream
from dynamo.runtime.status import Instance

if TYPE_CHECKING:
    from dynamo.runtime.component import Endpoint, ServedEndpoint

_BACKLOG = 16_384
_READ_AHEAD = 4096

EventKind = Literal["snapshot", "delta", "gone"]


class EventGap(RequestError):
    """A delta is missing: what was built from this stream can no longer be trusted."""

    code = "event_gap"


class SnapshotEvent(NamedTuple):
    """`snapshot`: replace what is known of this instance; `delta`: apply; `gone`: forget (`body` is None)."""

    instance_id: int
    kind: EventKind
    number: int
    body: Any


class _Reader:
    __slots__ = ("arrived", "behind", "pending")

    def __init__(self) -> None:
        self.pending: deque[tuple[int, Any]] = deque()
        self.behind = False
        self.arrived = asyncio.Event()


class SnapshotPublisher:
    """Publishes deltas of a state that `snapshot()` returns whole; it must contain every delta published so far.

    `backlog`: deltas kept for a slow reader; beyond that it gets a snapshot instead.
    """

    def __init__(self, snapshot: Callable[[], Any], *, backlog: int = _BACKLOG) -> None:
        self._snapshot = snapshot
        self._backlog = backlog
        self._readers: set[_Reader] = set()
        self.number = 0

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    def publish(self, delta: Any) -> None:
        """Number a delta and hand it to every reader. The caller has applied it to the state already."""
        self.number += 1
        message = (self.number, delta)
        for reader in self._readers:
            if reader.behind:
                continue
            if len(reader.pending) >= self._backlog:
                reader.pending.clear()
                reader.behind = True
            else:
                reader.pending.append(message)
            reader.arrived.set()

    async def handler(self, _: Any) -> AsyncIterator[tuple[int, EventKind, Any]]:
        """The endpoint's handler."""
        reader = _Reader()
        self._readers.add(reader)
        try:
            yield (self.number, "snapshot", self._snapshot())
            while True:
                await reader.arrived.wait()
                reader.arrived.clear()
                while reader.pending or reader.behind:
                    if reader.behind:
                        reader.behind = False
                        yield (self.number, "snapshot", self._snapshot())
                    else:
                        number, delta = reader.pending.popleft()
                        yield (number, "delta", delta)
        finally:
            self._readers.discard(reader)

    async def serve(self, endpoint: Endpoint) -> ServedEndpoint:
        """Serve the stream at `endpoint`."""
        return await endpoint.serve_endpoint(self.handler, endless=True)


async def numbered(stream: ResponseStream) -> AsyncIterator[SnapshotEvent]:
    """The messages of one stream, their numbers checked. Raises `EventGap`, and what the stream raises."""
    last: int | None = None
    async for number, kind, body in stream:
        if kind == "delta" and number != (None if last is None else last + 1):
            raise EventGap(f"delta {number} came after {last}", instance=stream.instance_id)
        last = number
        yield SnapshotEvent(stream.instance_id, kind, number, body)


class SnapshotSubscriber:
    """The merged events of every instance that serves an endpoint; an async iterator of `SnapshotEvent`.

    Each instance's events begin with a snapshot and are complete and in order. A slow reader holds the
    publishers back, up to their backlog.
    """

    def __init__(self, endpoint: Endpoint, payload: Any = None) -> None:
        runtime = endpoint.runtime
        self._runtime = runtime
        self._plane = runtime.plane
        self._path = endpoint.path
        self._payload = payload
        self._merged: Merge[SnapshotEvent] = Merge(_READ_AHEAD)
        prefix = instances_prefix(runtime.scope, endpoint.namespace, endpoint.component, endpoint.name)
        self._follower = InstanceFollower(InstanceSet(runtime.discovery, prefix), self._follow, self._leave)
        runtime.own(self)

    async def start(self) -> SnapshotSubscriber:
        """Connect to the present instances. Idempotent. Raises `DiscoveryError`."""
        await self._follower.start()
        return self

    async def __aiter__(self) -> AsyncIterator[SnapshotEvent]:
        await self.start()
        while True:
            yield await self._merged.get()

    async def close(self) -> None:
        await self._follower.close()
        self._runtime.disown(self)

    async def _follow(self, instance: Instance) -> None:
        call = await self._plane.call(
            instance.address, self._path, self._payload, instance_id=instance.instance_id, endpoint=self._path
        )
        async with ResponseStream(call, None) as stream:
            async for event in numbered(stream):
                await self._merged.put(event)

    def _leave(self, instance_id: int) -> None:
        self._merged.force(SnapshotEvent(instance_id, "gone", 0, None))
