"""Serves the application over sockets with uvicorn's HTTP protocol, without its program around it.

The daemon owns its loop, its signals and its sockets; it has no use for a second main loop that ticks ten
times a second. Peers on a Unix socket are vouched for by the kernel (SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from dynamod.api.guard import UID_PREFIX

BACKLOG = 512
KEEP_ALIVE_S = 75
_CREDENTIALS = struct.Struct("3i")

_log = logging.getLogger(__name__)


class ListenError(Exception):
    """A socket that cannot be listened on: what, where, why."""


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


def unix_listener(path: Path) -> socket.socket:
    """A listening Unix socket that only this user may connect to.

    A socket file that nobody serves any more is replaced.

    Raises:
        ListenError: somebody serves it, or it cannot be made.
    """
    if _is_served(path):
        raise ListenError(f"another program serves {path}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)
        # Made under another name, closed to others and listening before anyone can find it.
        listener.bind(str(draft))
        draft.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        draft.rename(path)
    except OSError as error:
        listener.close()
        draft.unlink(missing_ok=True)
        raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from None
    return listener


def tcp_listener(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Raises:
        ListenError: the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}:{port}: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def _is_served(path: Path) -> bool:
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(1.0)
    try:
        probe.connect(str(path))
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR)
    finally:
        probe.close()
    return True
