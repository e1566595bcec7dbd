"""Around every HTTP request: its id and trace, carried to the calls it makes, and its metrics."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from dynamo.runtime.context import RequestContext, enter
from dynamo.runtime.metrics import Registry

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID = b"x-request-id"
# W3C Trace Context, section 3.2: https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$")
_REQUEST_ID = re.compile(r"^[\x21-\x7e]{1,128}$")


class RequestScope:
    """ASGI middleware. A request without a usable `x-request-id` gets one; the answer repeats it."""

    def __init__(self, app: Application, service: str, registry: Registry) -> None:
        self._app = app
        self._service = service
        self._requests = registry.counter(
            "dynamo_http_requests_total", "HTTP requests by route, method and status.", ("route", "method", "status")
        )
        self._duration = registry.histogram(
            "dynamo_http_duration_seconds", "Time from a request to the end of its answer.", ("route",)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = headers.get(REQUEST_ID, b"").decode("latin-1")
        if not _REQUEST_ID.match(request_id):
            request_id = uuid.uuid4().hex
        traceparent = headers.get(b"traceparent", b"").decode("latin-1")
        carried = {"request_id": request_id}
        if _TRACEPARENT.match(traceparent):
            carried["traceparent"] = traceparent
        enter(RequestContext(f"{self._service}{scope['path']}", 0, carried, None, 0))

        status = 500
        started = time.perf_counter()

        async def send_with_id(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, request_id.encode("latin-1"))]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            # Only routes are labels: paths that nobody serves would let a scanner fill the registry.
            route = getattr(scope.get("route"), "path", "unmatched")
            self._requests.labels(route, scope["method"], str(status)).inc()
            self._duration.labels(route).observe(time.perf_counter() - started)
