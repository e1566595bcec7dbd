"""An engine with its observers and its REST face: what the daemon and the foreground program both keep running."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version

from dynamo.runtime.errors import PlaneUnreachable
from dynamo.runtime.settings import from_environment
from dynamo.runtime.transport.planes import open_plane
from dynamod.api.listening import unix_listener
from dynamod.api.rules import GuardRules
from dynamod.core.errors import Unavailable
from dynamod.engine import Engine, EngineOptions, run_dirs
from dynamod.observe.observers import Observers
from dynamod.observe.streams import ReplicaStreams
from dynamod.schema import DaemonInfo, Locations


class Serving:
    """What is running. The REST face is opened apart: a `serve` starts its graph before it pays for it."""

    def __init__(self, engine: Engine, observers: Observers, open_face: Callable[[], Awaitable[None]]) -> None:
        self.engine = engine
        self.observers = observers
        self._open_face = open_face

    async def open_face(self) -> None:
        """Serve on the engine's Unix socket and the further listeners. Raises ListenError."""
        await self._open_face()


@asynccontextmanager
async def serving(
    where: Locations,
    options: EngineOptions,
    rules: GuardRules,
    *,
    listeners: Sequence[socket.socket] = (),
    on_shutdown: Callable[[bool], None],
) -> AsyncIterator[Serving]:
    """Run an engine and its observers for as long as the context lasts, and its REST face once it is opened.

    `on_shutdown(stop_graphs)` is called when a client asks the program to end.

    Raises:
        Unavailable, StoreError: the engine cannot start.
    """
    started = datetime.now(UTC)
    engine = Engine(where, options=options)
    async with AsyncExitStack() as stack:
        await engine.start()
        stack.callback(run_dirs.leave, where)  # the last thing: the face's socket has gone by then
        stack.push_async_callback(engine.stop)
        discovery = engine.discovery
        stack.push_async_callback(discovery.close)
        try:
            plane = await open_plane(from_environment(options.environ), where.run_dir)
        except PlaneUnreachable as error:
            raise Unavailable(str(error)) from None
        stack.push_async_callback(plane.close)
        streams = ReplicaStreams(plane)
        observers = Observers(engine, where, discovery=discovery, open_metrics=streams.metrics, open_feed=streams.feed)
        await stack.enter_async_context(observers.running())

        async def open_face() -> None:
            listener = unix_listener(where.api_socket)
            stack.callback(where.api_socket.unlink, missing_ok=True)

            def shutdown(_actor: str, stop_graphs: bool) -> None:
                on_shutdown(stop_graphs)

            face = await asyncio.to_thread(_face)
            close = await face(
                engine,
                observers,
                lambda: daemon_info(engine, options, started),
                shutdown,
                rules,
                [listener, *listeners],
            )
            stack.push_async_callback(close)

        yield Serving(engine, observers, open_face)


def _face() -> Callable[..., Awaitable[Callable[[], Awaitable[None]]]]:
    """FastAPI costs as much to import as the engine."""
    from dynamod.api.face import open_face

    return open_face


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
        checks=dict(engine.checks),
    )
