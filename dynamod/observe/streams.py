"""Opens the streams that replicas serve to whoever observes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from dynamo.runtime.events import numbered
from dynamo.runtime.peer import Peer
from dynamo.runtime.status import Address, Instance
from dynamo.runtime.transport.base import RequestPlane

METRICS_TARGET = "_system/metrics"
PERIOD_S = 1.0


class ReplicaStreams:
    """Streams over one request plane, which its owner closes."""

    def __init__(self, plane: RequestPlane) -> None:
        self._plane = plane

    async def metrics(self, address: Address) -> AsyncIterator[dict[str, Any]]:
        """The messages of a process's metrics stream (see the replica contract)."""
        stream = await Peer(self._plane, address).call(METRICS_TARGET, {"interval": PERIOD_S})
        async with stream:
            async for message in stream:
                yield message

    async def feed(self, instance: Instance) -> AsyncIterator[tuple[bool, list[dict[str, Any]]]]:
        """A router's feed: (is a snapshot, its entries). Raises `EventGap` when a delta is missing."""
        stream = await Peer(self._plane, instance.address).call(instance.path, {})
        async with stream:
            async for event in numbered(stream):
                entries = event.body if isinstance(event.body, list) else [event.body]
                yield event.kind == "snapshot", entries
