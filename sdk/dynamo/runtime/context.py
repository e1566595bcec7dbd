"""What a handler may know about the request it serves, carried along to the calls it makes itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

_current: ContextVar[RequestContext | None] = ContextVar("dynamo_request", default=None)


class RequestContext:
    """One request, as its handler sees it.

    `deadline` is in the event loop's time, None without one; `remaining()` in seconds. `traceparent` is the
    W3C header or "". `headers` are the caller's own, strings. `received`: bytes that arrived since the
    request before, on the same connection.
    """

    __slots__ = (
        "_fallback_id",
        "_id",
        "deadline",
        "endpoint",
        "headers",
        "instance_id",
        "peer",
        "received",
        "traceparent",
    )

    def __init__(self, endpoint: str, instance_id: int, headers: Mapping[str, Any] | None, peer: Any, serial: int):
        self.endpoint = endpoint
        self.instance_id = instance_id
        self.peer = peer
        self.received = 0
        self.deadline: float | None = None
        self._id = ""
        self._fallback_id = serial
        self.traceparent = ""
        self.headers: Mapping[str, str] = {}
        if headers is not None:
            self._read(headers)

    @property
    def id(self) -> str:
        """The request id: the caller's, or `<connection>-<stream>`."""
        return self._id or f"{self.peer.id}-{self._fallback_id}"

    def remaining(self) -> float | None:
        """Seconds until the deadline; negative when it has passed."""
        return None if self.deadline is None else self.deadline - asyncio.get_running_loop().time()

    def outgoing(self) -> dict[str, Any]:
        """The headers that a call made on behalf of this request carries."""
        headers: dict[str, Any] = {"request_id": self.id}
        if self.traceparent:
            headers["traceparent"] = self.traceparent
        if self.headers:
            headers["headers"] = dict(self.headers)
        if self.deadline is not None:
            headers["timeout"] = max(0.0, self.deadline - asyncio.get_running_loop().time())
        return headers

    def _read(self, headers: Mapping[str, Any]) -> None:
        self._id = str(headers.get("request_id", ""))
        self.traceparent = str(headers.get("traceparent", ""))
        own = headers.get("headers")
        if isinstance(own, dict):
            self.headers = own
        timeout = headers.get("timeout")
        if isinstance(timeout, int | float):
            self.deadline = asyncio.get_running_loop().time() + timeout


def current_request() -> RequestContext | None:
    """The request that the running task serves, or None outside of any."""
    return _current.get()


def enter(context: RequestContext) -> None:
    """Make `context` the current one of the running task. Called by the transports."""
    _current.set(context)
