"""One `serve`: submit the graph, tell when it is ready, print its logs, and stop it in the end."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from dynamo.sdk.spec import GraphSpec
from dynamod.api.listening import ListenError
from dynamod.api.rules import guard_rules
from dynamod.core.errors import EngineError
from dynamod.foreground.inspecting import Inspection
from dynamod.foreground.output import LogPrinter, say
from dynamod.observe.logs.follow import follow
from dynamod.observe.logs.query import LogSource, log_filter
from dynamod.schema import (
    Graph,
    GraphState,
    GraphSubmit,
    Locations,
    Replica,
    ReplicaState,
    ServeRegistration,
    default_state_dir,
    locations,
    registration_file,
)
from dynamod.schema.serve import ServeOptions
from dynamod.serving import Serving, options_of, serving

ACTOR = f"user:{os.getuid()}"
KILLED = 130
SAME_SIGNAL_S = 0.5
LAST_LINES_S = 2.0
"""How long the last lines of ended replicas may take to be printed."""


class Stopping:
    """Set by the first SIGINT or SIGTERM, or by a client; a second signal kills.

    A terminal signals the whole process group, and wrappers (make, uv) pass the same signal on: what follows
    within `SAME_SIGNAL_S` is not a second one.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()
        self._first = 0.0

    def on_signal(self) -> None:
        if not self.asked.is_set():
            self._first = time.monotonic()
            self.asked.set()
        elif time.monotonic() - self._first > SAME_SIGNAL_S:
            self.at_once.set()

    def ask(self, _stop_graphs: bool) -> None:
        """The graph lives and ends with this program, whatever the client asks for."""
        self.asked.set()


async def run_session(options: ServeOptions, inspection: Inspection) -> int:
    """Returns the exit code.

    Raises:
        InspectionFailed: the graph cannot be read.
    """
    began = time.monotonic()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    stopping = Stopping()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.on_signal)
    reading = loop.run_in_executor(None, inspection.result)
    try:
        with _state_directory() as where:
            engine_options = options_of(dict(os.environ), ephemeral=True)
            async with serving(where, engine_options, guard_rules(None), on_shutdown=stopping.ask) as running:
                spec = await reading
                session = Session(options, spec, running, stopping, where)
                return await session.run(began)
    except (EngineError, ListenError) as error:
        say(f"dynamo serve: {error}")
        return 1
    finally:
        with suppress(Exception):
            await reading


class Session:
    """One submitted graph from start to end."""

    def __init__(
        self, options: ServeOptions, spec: GraphSpec, running: Serving, stopping: Stopping, where: Locations
    ) -> None:
        self._options = options
        self._spec = spec
        self._running = running
        self._engine = running.engine
        self._observers = running.observers
        self._stopping = stopping
        self._where = where
        self._name = spec.name
        self._printer = LogPrinter(spec.service_names())

    async def run(self, began: float) -> int:
        after = self._engine.last_seq
        graph, _ = await self._engine.submit(self._submission(), actor=ACTOR)
        self._name = graph.name
        async with self._logs_printed():
            with ExitStack() as registered:
                try:
                    await self._running.open_face()  # meanwhile the first replicas start
                    registered.enter_context(_registered(self._options, self._where, graph))
                    code = await self._until_end(after, began)
                finally:
                    await self._stop()
        return KILLED if self._stopping.at_once.is_set() else code

    def _submission(self) -> GraphSubmit:
        envs = dict(self._options.envs)
        if self._options.enable_system_app:
            envs["DYNAMO_SYSTEM_APP_ENABLED"] = "1"
        if self._options.system_app_port is not None:
            envs["DYNAMO_SYSTEM_APP_PORT"] = str(self._options.system_app_port)
        if self._options.use_default_health_checks:
            envs["DYNAMO_SYSTEM_APP_USE_DEFAULT_HEALTH_CHECKS"] = "1"
        return GraphSubmit(spec=self._spec, name=self._options.name, project=self._options.project, envs=envs)

    async def _until_end(self, after: int, began: float) -> int:
        """Wait for a signal or for the graph's failure, and say when it is ready."""
        watching = asyncio.ensure_future(self._watch(after, began))
        asked = asyncio.ensure_future(self._stopping.asked.wait())
        done, _ = await asyncio.wait((watching, asked), return_when=asyncio.FIRST_COMPLETED)
        for task in (watching, asked):
            task.cancel()
        await asyncio.gather(watching, asked, return_exceptions=True)
        return await watching if watching in done else 0

    async def _watch(self, after: int, began: float) -> int:
        """Returns the exit code when the graph has failed for good."""
        ready = False
        async with self._engine.subscribe(after) as events:
            async for event in events:
                if event.graph != self._name or event.project != self._options.project:
                    continue
                graph = await self._engine.graph(self._options.project, self._name)
                if graph.state is GraphState.READY and not ready:
                    ready = True
                    say(ready_line(graph, time.monotonic() - began))
                elif graph.state is GraphState.FAILED:
                    await self._explain(graph)
                    return 1
                elif graph.state is GraphState.STOPPED:
                    say(f"{graph.name} was stopped")
                    return 0
        return 0

    async def _explain(self, graph: Graph) -> None:
        say(f"{graph.name} failed ({graph.reason}): {graph.message}".rstrip(": "))
        for replica in await self._replicas():
            if replica.state is ReplicaState.FAILED:
                why = await self._engine.why(replica.id)
                say(f"  {replica.service}:{replica.index} {why.summary}")

    async def _stop(self) -> None:
        """Drain and stop every replica; a second signal kills them."""
        if any(replica.state.holds_process for replica in await self._replicas()):
            say("stopping; once more to stop at once")
        stop = asyncio.ensure_future(self._engine.stop(stop_graphs=True))
        at_once = asyncio.ensure_future(self._stopping.at_once.wait())
        await asyncio.wait((stop, at_once), return_when=asyncio.FIRST_COMPLETED)
        if not stop.done():
            await self._kill()
        at_once.cancel()
        await stop

    async def _kill(self) -> None:
        for replica in await self._replicas():
            if replica.state.holds_process:
                self._engine.core.drivers[replica.driver].kill(replica.id)

    async def _replicas(self) -> list[Replica]:
        return (await self._engine.replicas(self._options.project, self._name, limit=1000)).items

    @asynccontextmanager
    async def _logs_printed(self) -> AsyncIterator[None]:
        """Print log lines meanwhile, and in the end those that are still to come."""
        known: list[LogSource] = []
        ending = asyncio.Event()

        async def sources() -> list[LogSource]:
            nonlocal known
            with suppress(EngineError):  # the engine has stopped: the files are still there
                graph = await self._engine.graph(self._options.project, self._name)
                self._printer.learn(await self._replicas(), {one.name: one.desired for one in graph.services})
                known = await self._observers.log_sources(self._options.project, self._name)
            return known

        async def print_all() -> None:
            async with aclosing(follow(sources, log_filter(), from_start=True, until=ending)) as batches:  # type: ignore[type-var]
                async for batch in batches:
                    await self._printer.show(batch)

        printing = asyncio.ensure_future(print_all())
        try:
            yield
        finally:
            ending.set()
            await asyncio.wait((printing,), timeout=LAST_LINES_S)
            printing.cancel()
            await asyncio.gather(printing, return_exceptions=True)


def ready_line(graph: Graph, seconds: float) -> str:
    replicas = sum(service.ready for service in graph.services)
    services = len(graph.services)
    where = f"{graph.address} " if graph.address else ""
    return (
        f"ready: {where}({services} service{'' if services == 1 else 's'}, "
        f"{replicas} replica{'' if replicas == 1 else 's'}) in {seconds:.1f} s"
    )


@contextmanager
def _state_directory() -> Iterator[Locations]:
    """A throw-away state directory, for this user alone. Sockets may have needed a shorter path outside of it."""
    where = locations(Path(tempfile.mkdtemp(prefix="dynamo-serve-")))
    try:
        yield where
    finally:
        for directory in (where.state_dir, where.run_dir):
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _registered(options: ServeOptions, where: Locations, graph: Graph) -> Iterator[None]:
    """Let the CLI and the dashboard find this program while it runs."""
    home = locations(Path(options.state_dir) if options.state_dir else default_state_dir(os.environ))
    path = registration_file(home, os.getpid())
    entry = ServeRegistration(
        pid=os.getpid(),
        socket=str(where.api_socket),
        project=graph.project,
        graph=graph.name,
        target=options.target,
        started_at=datetime.now(UTC),
    )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(entry))
    except OSError as error:
        say(f"dynamo serve: others cannot attach: {path}: {error.strerror}")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
