"""An HTTP server inside a replica: uvicorn on a socket of our own, stopped by us instead of by signals."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

logger = logging.getLogger(__name__)

_START_TIMEOUT = 60.0


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.startup_over = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.startup_over.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the replica's."""
        yield


class WebServer:
    """Serves one ASGI application on one socket, in a task of its owner's group."""

    def __init__(self, app: Any, listening: socket.socket, *, drain_timeout: float, websockets: bool = False) -> None:
        self._socket = listening
        self._task: asyncio.Task[None] | None = None
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=logger.isEnabledFor(logging.DEBUG),
                http="httptools",
                ws="auto" if websockets else "none",
                timeout_graceful_shutdown=max(1, round(drain_timeout)),
            )
        )

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Serve in a task of that group; returns once requests are taken.

        Raises:
            RuntimeError: the application's own start-up failed; its log lines say how.
            TimeoutError: it takes longer than a minute.
        """
        self._task = tasks.create_task(self._server.serve(sockets=[self._socket]))
        async with asyncio.timeout(_START_TIMEOUT):
            await self._server.startup_over.wait()
        if not self._server.started:
            raise RuntimeError("the HTTP application failed to start")

    async def stop(self) -> None:
        """Stop listening, and wait until running requests have ended or the drain time-out has passed."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
