"""Serves the application over sockets with uvicorn's HTTP protocol, without its program around it.

The daemon owns its loop, its signals and its sockets; it has no use for a second main loop that ticks ten
times a second. Peers on a Unix socket are vouched for by the kernel (SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Sequence

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from dynamod.api.guard import UID_PREFIX
from dynamod.api.listening import BACKLOG

KEEP_ALIVE_S = 75
_CREDENTIALS = struct.Struct("3i")

_log = logging.getLogger(__name__)


class PeerProtocol(HttpToolsProtocol):
    """Names the peer of a Unix socket by its user id, in place of an address."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family == socket.AF_UNIX:
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid, uid, _ = _CREDENTIALS.unpack(raw)
            self.client = (f"{UID_PREFIX}{uid}", pid)


class ApiServer:
    """Accepts connections on already bound sockets until it is stopped."""

    def __init__(self, app: ASGIApp) -> None:
        self._config = Config(
            app,
            http=PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._config.load()
        self._state = ServerState()
        self._servers: list[asyncio.Server] = []

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for bound in sockets:
            if bound.family == socket.AF_UNIX:
                server = await loop.create_unix_server(self._protocol, sock=bound, backlog=BACKLOG)
            else:
                server = await loop.create_server(self._protocol, sock=bound, backlog=BACKLOG)
            self._servers.append(server)

    async def stop(self, timeout: float) -> None:
        """Accept no more, let running requests end, and cut off what still runs after `timeout` seconds."""
        for server in self._servers:
            server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(timeout):
                while self._state.connections or self._state.tasks:  # noqa: ASYNC110 - uvicorn offers no event
                    await asyncio.sleep(0.01)
        except TimeoutError:
            for task in list(self._state.tasks):
                task.cancel()
            _log.warning("%d requests were cut off", len(self._state.tasks))
            await asyncio.gather(*self._state.tasks, return_exceptions=True)
        self._servers.clear()

    def _protocol(self) -> PeerProtocol:
        return PeerProtocol(config=self._config, server_state=self._state, app_state={})
