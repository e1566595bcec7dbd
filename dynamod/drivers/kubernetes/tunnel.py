"""Ports of a pod on this machine, through the API server: what `kubectl port-forward` does.

A local listener takes connections; each has a WebSocket of its own. In it, the first byte of a message is a channel:
0 carries bytes, 1 what went wrong. The first message of a channel repeats the port, in two bytes, little-endian.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from dynamod.core.errors import EngineError
from dynamod.drivers.kubernetes.pod_streams import PodStreams

if TYPE_CHECKING:
    from httpx2.websockets import AsyncWebSocketSession

log = logging.getLogger(__name__)

CHUNK = 65536
_DATA, _ERROR = 0, 1
LOOPBACK = "127.0.0.1"


class Tunnel:
    """A local way to one port of one pod; `close` ends it and its connections."""

    def __init__(self, streams: PodStreams, pod: str, port: int) -> None:
        self._streams = streams
        self._pod = pod
        self.port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._path: Path | None = None

    async def open_unix(self, path: Path) -> None:
        """Listen on a Unix socket, for those who may enter its directory. Raises OSError."""
        self._server = await asyncio.start_unix_server(self._accept, path, limit=CHUNK)
        self._path = path

    async def open_tcp(self) -> int:
        """Listen on a free port of the loopback, for everybody on this machine; which it is. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0, limit=CHUNK)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._path is not None:
            await asyncio.to_thread(self._path.unlink, missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            async with self._streams.forward(self._pod, self.port) as socket:
                await _pump(socket, reader, writer)
        except (EngineError, OSError) as error:
            log.debug("tunnel to port %d of %s: %s", self.port, self._pod, error)
        except asyncio.CancelledError:
            pass  # nobody waits for a connection's task; the server logs it otherwise
        finally:
            self._connections.discard(task)
            writer.close()


async def _pump(socket: AsyncWebSocketSession, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Both ways, until either side ends."""

    async def up() -> None:
        while data := await reader.read(CHUNK):
            await socket.send_bytes(bytes((_DATA,)) + data)

    async def down() -> None:
        named = set()
        while True:
            message = await socket.receive_bytes()
            channel, body = message[0], message[1:]
            if channel not in named:
                named.add(channel)
                body = body[2:]
            if channel == _ERROR and body:
                raise ConnectionResetError(body.decode(errors="replace").strip())
            if channel == _DATA and body:
                writer.write(body)
                await writer.drain()

    tasks = {asyncio.ensure_future(up()), asyncio.ensure_future(down())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
