"""Opens the REST face over a running engine: the application and the server that serves it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence

from dynamod.api.app import create_app
from dynamod.api.backend import Backend
from dynamod.api.rules import GuardRules
from dynamod.api.server import ApiServer
from dynamod.engine import Engine
from dynamod.observe.observers import Observers
from dynamod.schema import DaemonInfo

REQUESTS_END_S = 5.0
"""How long running requests may take to end when the face closes."""


async def open_face(
    engine: Engine,
    observers: Observers,
    about: Callable[[], DaemonInfo],
    shutdown: Callable[[str, bool], None],
    rules: GuardRules,
    listeners: Sequence[socket.socket],
) -> Callable[[], Awaitable[None]]:
    """Serve on listening sockets; returns what closes the face again, its open streams first."""
    backend = Backend(engine, observers, about, shutdown)
    server = ApiServer(create_app(backend, rules))
    await server.start(listeners)

    async def close() -> None:
        backend.closing.set()
        await server.stop(REQUESTS_END_S)

    return close
