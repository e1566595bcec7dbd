"""What flows between us and one pod through the API server: its output, and bytes to and from a port of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dynamod.drivers.kubernetes.errors import one_leaf, translated

if TYPE_CHECKING:
    import httpx2
    from httpx2.websockets import AsyncWebSocketSession

CONNECT_TIMEOUT_S = 30.0
PING_TIMEOUT_S = 5.0
MESSAGE_BYTES = 1 << 24
"""The longest message of a WebSocket that is taken."""


class PodStreams:
    """Streams of the pods of one namespace. `raw` is a client of the API server, with all that it needs to get in."""

    def __init__(self, raw: httpx2.AsyncClient, *, server: str, namespace: str) -> None:
        self._raw = raw
        self.server = server
        self.namespace = namespace

    async def ping(self) -> None:
        """Does the API server answer? Raises ClusterUnreachable, AccessForbidden."""
        with translated(self.server, "/version"):
            (await self._raw.get("/version", timeout=PING_TIMEOUT_S)).raise_for_status()

    @asynccontextmanager
    async def log(self, pod: str, *, since: str = "", previous: bool = False) -> AsyncIterator[AsyncIterator[bytes]]:
        """The output of a replica's container as it comes, each line with its time in front, until the container ends.

        `since` is such a time; `previous` takes the container before the present one, which has ended.

        Raises:
            AccessForbidden, ClusterRefused, ClusterUnreachable: as they say; also while it is read.
        """
        import httpx2

        asked: dict[str, Any] = {"container": "main", "timestamps": True, "follow": not previous, "previous": previous}
        if since:
            asked["sinceTime"] = since
        timeout = httpx2.Timeout(CONNECT_TIMEOUT_S, read=None)
        with translated(self.server, f"logs of {pod}"):
            async with self._raw.stream("GET", self._path(pod, "log"), params=asked, timeout=timeout) as answer:
                if answer.is_error:
                    await answer.aread()
                answer.raise_for_status()
                yield answer.aiter_bytes()

    @asynccontextmanager
    async def forward(self, pod: str, port: int) -> AsyncIterator[AsyncWebSocketSession]:
        """A WebSocket through the API server to a port of a pod, in the framing that `tunnel` describes.

        Raises:
            AccessForbidden, ClusterRefused, ClusterUnreachable: as they say; also while it is used.
        """
        with translated(self.server, f"port {port} of {pod}"), one_leaf():
            async with self._raw.websocket(
                self._path(pod, "portforward"),
                params={"ports": port},
                subprotocols=["v4.channel.k8s.io"],
                max_message_size_bytes=MESSAGE_BYTES,
            ) as socket:
                yield socket

    def _path(self, pod: str, what: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{pod}/{what}"
