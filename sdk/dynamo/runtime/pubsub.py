"""Publish and subscribe by subject within a namespace, without a broker.

A publisher registers in discovery; each subscriber opens a stream to every publisher of its subject. A
message is `[number, payload]`, numbered per publisher; the first message of a stream is the number that the
next one follows, with nil. What a slow subscriber lost shows as a gap and is counted, never hidden.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING, Any

from dynamo.runtime.following import InstanceFollower, Merge
from dynamo.runtime.instances import InstanceSet
from dynamo.runtime.keys import event_key, events_prefix
from dynamo.runtime.response import ResponseStream
from dynamo.runtime.status import Instance, encode
from dynamo.runtime.transport.base import Handler

if TYPE_CHECKING:
    from dynamo.runtime.distributed import DistributedRuntime, Registration

_BACKLOG = 8192
_READ_AHEAD = 4096


def _target(namespace: str, subject: str) -> str:
    return f"_events/{namespace}/{subject}"


class _Reader:
    __slots__ = ("arrived", "pending")

    def __init__(self) -> None:
        self.pending: deque[tuple[int, Any]] = deque(maxlen=_BACKLOG)
        self.arrived = asyncio.Event()


class Publisher:
    """Publishes on one subject. Made by `Namespace.publisher`; `publish` never waits."""

    def __init__(self, runtime: DistributedRuntime, namespace: str, subject: str) -> None:
        self._runtime = runtime
        self._namespace = namespace
        self._subject = subject
        self._readers: set[_Reader] = set()
        self._number = 0
        self._registration: Registration | None = None
        self._starting = asyncio.Lock()

    @property
    def subscribers(self) -> int:
        """How many are connected now."""
        return len(self._readers)

    async def start(self) -> Publisher:
        """Register. Idempotent. Raises `DiscoveryError`."""
        async with self._starting:
            if self._registration is None:
                plane = self._runtime.plane
                await plane.listen()
                target = _target(self._namespace, self._subject)
                plane.add(Handler(target, self._serve, wants_context=False, endless=True))
                try:
                    self._registration = await self._runtime.register(self._key, self._value)
                except BaseException:
                    plane.remove(target)
                    raise
        return self

    def publish(self, payload: Any) -> None:
        """Hand a message to everyone who is connected. It is encoded later: do not change it afterwards."""
        self._number += 1
        message = (self._number, payload)
        for reader in self._readers:
            reader.pending.append(message)
            reader.arrived.set()

    async def _serve(self, _: Any) -> AsyncIterator[tuple[int, Any]]:
        reader = _Reader()
        self._readers.add(reader)
        try:
            yield (self._number, None)
            while True:
                await reader.arrived.wait()
                reader.arrived.clear()
                while reader.pending:
                    yield reader.pending.popleft()
        finally:
            self._readers.discard(reader)

    def _key(self, instance_id: int) -> str:
        return event_key(self._runtime.scope, self._namespace, self._subject, instance_id)

    def _value(self, instance_id: int) -> bytes:
        return encode(
            Instance(
                instance_id=instance_id,
                namespace=self._namespace,
                component="",
                endpoint=self._subject,
                address=self._runtime.address,
            )
        )


class Subscription:
    """An async iterator over the payloads of one subject, of all publishers, in order per publisher.

    Awaiting it connects to the publishers of now, so that nothing they publish from then on is missed.
    `missed` counts messages lost to slowness or to a broken connection.
    """

    def __init__(self, runtime: DistributedRuntime, namespace: str, subject: str) -> None:
        self.missed = 0
        self._runtime = runtime
        self._target = _target(namespace, subject)
        self._merged: Merge[Any] = Merge(_READ_AHEAD)
        self._numbers: dict[int, int] = {}
        self._connected = asyncio.Event()
        self._instances = InstanceSet(runtime.discovery, events_prefix(runtime.scope, namespace, subject))
        self._follower = InstanceFollower(self._instances, self._follow, self._leave)
        runtime.own(self)

    def __await__(self) -> Generator[Any, None, Subscription]:
        return self._connect().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        await self._follower.start()
        while True:
            yield await self._merged.get()

    async def close(self) -> None:
        await self._follower.close()
        self._runtime.disown(self)

    async def _connect(self) -> Subscription:
        await self._follower.start()
        present = set(self._instances.known)
        while (present & set(self._instances.known)) - set(self._numbers):
            self._connected.clear()
            await self._connected.wait()
        return self

    async def _follow(self, instance: Instance) -> None:
        publisher = instance.instance_id
        call = await self._runtime.plane.call(
            instance.address, self._target, None, instance_id=publisher, endpoint=self._target
        )
        async with ResponseStream(call, None) as stream:
            number, _ = await anext(stream)
            self.missed += number - self._numbers.get(publisher, number)
            self._numbers[publisher] = number
            self._connected.set()
            async for number, payload in stream:
                self.missed += number - self._numbers[publisher] - 1
                self._numbers[publisher] = number
                await self._merged.put(payload)

    def _leave(self, publisher: int) -> None:
        self._numbers.pop(publisher, None)
        self._connected.set()
