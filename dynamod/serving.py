"""An engine with its observers and its REST face: what the daemon and the foreground program both keep running."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from dynamo.runtime.settings import from_environment
from dynamo.runtime.transport.planes import open_plane
from dynamod.api.app import create_app
from dynamod.api.backend import Backend
from dynamod.api.guard import GuardRules
from dynamod.api.server import ApiServer, unix_listener
from dynamod.engine import Engine, EngineOptions
from dynamod.observe.observers import Observers
from dynamod.observe.streams import ReplicaStreams
from dynamod.schema import DaemonInfo, Locations

REQUESTS_END_S = 5.0
"""How long running requests may take to end when the daemon stops."""


@dataclass(frozen=True)
class Serving:
    """What is running."""

    engine: Engine
    observers: Observers


@asynccontextmanager
async def serving(
    where: Locations,
    options: EngineOptions,
    rules: GuardRules,
    *,
    listeners: Sequence[socket.socket] = (),
    on_shutdown: Callable[[bool], None],
) -> AsyncIterator[Serving]:
    """Run an engine and serve it on its Unix socket, and on further listeners, for as long as the context lasts.

    `on_shutdown(stop_graphs)` is called when a client asks the program to end.

    Raises:
        Unavailable, StoreError: the engine cannot start.
        ListenError: the socket cannot be listened on.
    """
    started = datetime.now(UTC)
    engine = Engine(where, options=options)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(engine)
        discovery = engine.discovery
        stack.push_async_callback(discovery.close)
        plane = await open_plane(from_environment(options.environ), where.run_dir)
        stack.push_async_callback(plane.close)
        streams = ReplicaStreams(plane)
        observers = Observers(engine, where, discovery=discovery, open_metrics=streams.metrics, open_feed=streams.feed)
        await stack.enter_async_context(observers.running())

        def about() -> DaemonInfo:
            return daemon_info(engine, options, started)

        backend = Backend(engine, observers, about, lambda _actor, stop_graphs: on_shutdown(stop_graphs))
        server = ApiServer(create_app(backend, rules))
        listener = unix_listener(where.api_socket)
        stack.callback(where.api_socket.unlink, missing_ok=True)
        await server.start([listener, *listeners])

        async def close_server() -> None:
            backend.closing.set()
            await server.stop(REQUESTS_END_S)

        stack.push_async_callback(close_server)
        yield Serving(engine, observers)


def options_of(
    environ: Mapping[str, str], *, ephemeral: bool = False, database_url: str | None = None
) -> EngineOptions:
    """Engine options as the environment has them: a shared discovery, the request plane, our address.

    Raises:
        ConfigurationError: a variable cannot be read; the message names it.
    """
    settings = from_environment(environ)
    shared = settings.discovery.startswith("etcd://")
    return EngineOptions(
        ephemeral=ephemeral,
        database_url=database_url,
        environ=environ,
        request_plane=settings.request_plane,
        discovery=settings.discovery if shared else None,
        tcp_host=settings.tcp_host or None,
    )


def daemon_info(engine: Engine, options: EngineOptions, started: datetime) -> DaemonInfo:
    return DaemonInfo(
        version=version("dynamod"),
        pid=os.getpid(),
        started_at=started,
        state_dir=str(engine.where.state_dir),
        ephemeral=options.ephemeral,
        discovery=engine.discovery_url,
        host=socket.gethostname(),
        last_seq=engine.last_seq,
        gpus_simulated=bool(options.environ.get("DYNAMOD_GPUS")),
    )
