"""Calls to one process at a known address: what the daemon uses for `_system/metrics` and `_system/ping`."""

from __future__ import annotations

from typing import Any

from dynamo.runtime.response import ResponseStream
from dynamo.runtime.status import Address
from dynamo.runtime.transport.base import RequestPlane


class Peer:
    """One process. There is no other to try, so nothing is retried."""

    def __init__(self, plane: RequestPlane, address: Address) -> None:
        self._plane = plane
        self.address = address

    async def call(self, target: str, payload: Any = None, *, timeout: float | None = None) -> ResponseStream:
        """Send a request to `target`. `timeout`: seconds for the whole answer. Raises `InstanceUnavailable`."""
        headers = None if timeout is None else {"timeout": timeout}
        stream = ResponseStream(await self._plane.call(self.address, target, payload, headers), None)
        if timeout is not None:
            stream.limit(timeout)
        return stream
