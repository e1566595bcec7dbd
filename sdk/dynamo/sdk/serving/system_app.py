"""`/healthz`, `/readyz` and `/metrics` for orchestrators that speak HTTP, and `/registered`: what the replica holds in
discovery, for an observer outside of the cluster. Plain ASGI: no framework is imported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from dynamo.runtime.metrics import Registry
from dynamo.sdk.serving.health import Verdict
from dynamo.sdk.serving.request_scope import Application, Receive, Scope, Send

_TEXT = b"text/plain; charset=utf-8"
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_JSON = b"application/json"


class SystemApp:
    """200 or 503 with the reason; paths of its own fall through to the author's `system_app`."""

    def __init__(
        self,
        alive: Callable[[], Awaitable[Verdict]],
        ready: Callable[[], Awaitable[Verdict]],
        registry: Registry,
        registered: Callable[[], Mapping[str, str]],
        author_app: Any = None,
    ) -> None:
        self._checks = {"/healthz": alive, "/readyz": ready}
        self._told: dict[str, tuple[Callable[[], bytes], bytes]] = {
            "/metrics": (lambda: registry.render().encode(), _PROMETHEUS),
            "/registered": (lambda: msgspec.json.encode(registered()), _JSON),
        }
        self._author_app: Application | None = author_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or (path not in self._checks and path not in self._told):
            if self._author_app is not None:
                await self._author_app(scope, receive, send)
            elif scope["type"] == "http":
                await _send(send, 404, b"there are /healthz, /readyz, /metrics and /registered\n")
            elif scope["type"] == "lifespan":
                await _lifespan(receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _send(send, 405, b"use GET\n")
        elif path in self._told:
            body, content_type = self._told[path]
            await _send(send, 200, body(), content_type)
        else:
            verdict = await self._checks[path]()
            await _send(send, 200 if verdict.healthy else 503, (verdict.message or "ok").encode() + b"\n")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _send(send: Send, status: int, body: bytes, content_type: bytes = _TEXT) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
