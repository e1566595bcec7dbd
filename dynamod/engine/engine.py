"""`Engine`: store, planner, drivers and observers as one library object. The daemon and `serve` both are this."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import stat
from functools import partial
from pathlib import Path

from dynamo.runtime.discovery.base import Discovery
from dynamo.runtime.discovery.local import LocalDiscoveryServer
from dynamod.builds.store import BuildStore
from dynamod.core.errors import StoreError, Unavailable
from dynamod.core.records import Goal, GraphRecord
from dynamod.drivers.base import Ended, GraphDriver, NeedsBackend
from dynamod.drivers.cgroups import open_cgroups
from dynamod.drivers.docker import DockerDriver
from dynamod.drivers.environment import Surroundings
from dynamod.drivers.process import ProcessDriver
from dynamod.engine import run_dirs
from dynamod.engine.actor import GraphActor
from dynamod.engine.clock import SteadyClock
from dynamod.engine.core import Core, OnDemand
from dynamod.engine.delegated import DelegatedActor
from dynamod.engine.explain import Explanations
from dynamod.engine.feed import Feed
from dynamod.engine.gpus import GpuLedger
from dynamod.engine.housekeeping import keep_house
from dynamod.engine.memory import Memory
from dynamod.engine.mirror import DiscoveryMirror
from dynamod.engine.options import EngineOptions
from dynamod.engine.planning import Planning
from dynamod.engine.queries import Queries
from dynamod.engine.readiness import StatusWatch
from dynamod.engine.recovery import recover
from dynamod.schema.graphs import StopRequest
from dynamod.schema.locations import Locations
from dynamod.schema.states import Action, GraphState
from dynamod.store.changes import Draft, Transaction
from dynamod.store.database import Store
from dynamod.store.queries import everything
from dynamod.tasks import OwnedTasks

log = logging.getLogger(__name__)

STOP_TIMEOUT = 600.0
"""Seconds to wait at most for all graphs to stop, beyond what their own drain timeouts allow."""


class Engine(Planning, Queries, Explanations):
    """One engine per state directory. Start it, use it from one event loop, stop it."""

    def __init__(self, where: Locations, *, options: EngineOptions | None = None) -> None:
        super().__init__()
        self.where = where
        self.options = options or EngineOptions()
        self._tasks = OwnedTasks()
        self._watches: dict[str, StatusWatch] = {}
        self._lock: int | None = None
        self._mirror: DiscoveryMirror | None = None

    async def start(self) -> None:
        """Open the store, host discovery, and take up what an earlier engine left.

        Raises:
            Unavailable: another engine uses this state directory, its run directory is not private, or the
                shared discovery does not answer.
            StoreError: the database cannot be opened or migrated.
        """
        await asyncio.to_thread(self._prepare)
        store = None
        discovery = LocalDiscoveryServer(self.where.discovery_socket)
        try:
            store = await Store.open(self.where.database, self.options.database_url)
            await discovery.start()
            self._core = self._assemble(store, discovery, Memory(await store.read(everything)))
            if self.options.discovery is not None:
                self._mirror = DiscoveryMirror(self.options.discovery, discovery.store)
                await self._mirror.start()
        except BaseException:
            self._core = None
            await discovery.stop()
            if store is not None:
                await store.close()
            self._unlock()
            raise
        if self.options.control_groups:
            self._core.groups = await asyncio.to_thread(open_cgroups, self.where.state_dir)
        self._core.drivers["process"] = ProcessDriver(
            self.where, self._ended, tied=self.options.ephemeral, groups=self._core.groups
        )
        if not self.options.ephemeral:  # what a `serve` starts ends with it, which containers would not
            self._core.drivers["docker"] = DockerDriver(self.where, self._ended)
            self._core.graph_drivers = OnDemand({"kubernetes": self._kubernetes})
        run_dirs.tidy(self.where, self._core.memory.replicas)
        await self._tell(Action.DAEMON_STARTED)
        if self.options.allocate_gpus:
            self._tasks.start(self._core.gpus.run(self._wake_all), "GPU ledger")
        for record in list(self._core.memory.graphs.values()):
            self._adopt_graph(record)
        if not self.options.ephemeral:
            await self._core.builds.adopt()
            self._tasks.start(keep_house(self._core), "housekeeping")
            for driver in self._core.drivers.values():
                if isinstance(driver, NeedsBackend):
                    self._tasks.start(driver.sweep(self._core.memory.replicas), f"sweep of {driver.name}")

    async def stop(self, *, stop_graphs: bool = False) -> None:
        """Let go of everything. Replicas run on, unless `stop_graphs` drains and stops them first."""
        if self._core is None:
            return
        core = self._core
        if stop_graphs:
            await self._stop_graphs()
        self._stopping = True
        try:
            await self._tell(Action.DAEMON_STOPPED)
        except StoreError as error:  # a full disk must not keep an engine from ending
            log.warning("the end of this engine is not recorded: %s", error)
        core.feed.close()
        await self._tasks.close()  # the actors first: they start what the core's tasks do
        await core.tasks.close()
        for watch in self._watches.values():
            watch.close()
        for driver in core.drivers.values():
            await driver.close()
        await core.graph_drivers.close()
        if self._mirror is not None:
            await self._mirror.close()
        await core.discovery.stop()
        await core.store.close()
        running = [replica.id for replica in core.memory.replicas.values() if replica.state.holds_process]
        await asyncio.to_thread(run_dirs.tidy, self.where, running)
        run_dirs.leave(self.where)
        self._core = None
        self._unlock()

    async def __aenter__(self) -> Engine:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def discovery_url(self) -> str:
        """What replicas and other clients of the runtime connect to."""
        return self.options.discovery or f"unix://{self.where.discovery_socket}"

    @property
    def discovery(self) -> Discovery:
        """The discovery store, in process. Whoever takes one closes it."""
        return self.core.discovery.discovery()

    @property
    def gpus_simulated(self) -> bool:
        return self.core.gpus.simulated

    @property
    def checks(self) -> dict[str, str]:
        """What this machine lets the engine do, as `/v1/info` says it."""
        return {"limits": self.core.groups.describe()}

    @staticmethod
    def scope(project: str, graph: str) -> str:
        """The part of the discovery store that a graph lives in."""
        return f"{project}/{graph}"

    def _assemble(self, store: Store, discovery: LocalDiscoveryServer, memory: Memory) -> Core:
        feed = Feed(store, self.options.subscriber_backlog)
        clock = SteadyClock()
        around = Surroundings(
            self.where, self.options.environ, self.discovery_url, self.options.request_plane, self.options.tcp_host
        )
        return Core(
            where=self.where,
            options=self.options,
            store=store,
            feed=feed,
            memory=memory,
            discovery=discovery,
            around=around,
            gpus=GpuLedger(memory, store, feed, self.options, clock, self.where.xids_file),
            builds=BuildStore(self.where.builds_dir, store, feed.publish, memory.users_of, clock),
            tasks=OwnedTasks(),
            starting=asyncio.Semaphore(self.options.parallel_starts),
            host=socket.gethostname(),
            clock=clock,
        )

    def _adopt_graph(self, record: GraphRecord) -> None:
        """Give a graph its actor, and find out what its replicas have been doing."""
        if record.driver in self.core.graph_drivers:
            delegated = DelegatedActor(self.core, record.id, self._graph_gone)
            self._actors[record.id] = delegated
            self._tasks.start(delegated.run(), f"graph {record.name}")
            return
        actor = GraphActor(self.core, record.id, self._graph_gone)
        self._actors[record.id] = actor
        watch = StatusWatch(actor, self.scope(record.project, record.name))
        self._watches[record.id] = watch
        self._tasks.start(self._drive(actor, watch), f"graph {record.name}")

    async def _drive(self, actor: GraphActor, watch: StatusWatch) -> None:
        await recover(actor, watch)
        await actor.run()

    def _kubernetes(self) -> GraphDriver:
        from dynamod.drivers.kubernetes.driver import KubernetesDriver

        return KubernetesDriver(self.where, self.core.discovery.store, self._image_of)

    async def _image_of(self, build: str) -> str:
        """What `containerize` calls the image of a build."""
        return (await self.core.builds.find(build)).tag

    def _wake_all(self) -> None:
        for actor in self._actors.values():
            actor.wake()

    def _graph_gone(self, graph_id: str) -> None:
        self._actors.pop(graph_id, None)
        if (watch := self._watches.pop(graph_id, None)) is not None:
            watch.close()

    def _ended(self, replica_id: str, ended: Ended) -> None:
        record = self.core.memory.replicas.get(replica_id)
        if record is not None and record.gpus:
            self.core.gpus.look_again()
        actor = self._actors.get(record.graph_id) if record is not None else None
        if isinstance(actor, GraphActor):
            actor.ended(replica_id, ended)

    async def _stop_graphs(self) -> None:
        core = self.core
        waiting = []
        for record in list(core.memory.graphs.values()):
            actor = self._actors.get(record.id)
            if actor is None:
                continue
            if record.goal is Goal.RUN:
                await self.stop_graph(record.project, record.name, StopRequest(), actor="engine")
            waiting.append(actor.wait_until(partial(_has_stopped, core.memory, record.id)))
        self._stopping = True
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await asyncio.gather(*waiting)
        except TimeoutError:
            log.error("some replicas did not stop within %.0f s and are left to run", STOP_TIMEOUT)

    async def _tell(self, action: Action) -> None:
        core = self.core
        transaction = Transaction()
        transaction.event(Draft(at=core.now(), actor="engine", action=action, data={"pid": os.getpid()}))
        await core.store.commit(transaction, core.feed.publish)

    def _prepare(self) -> None:
        for directory in (self.where.state_dir, self.where.run_dir, self.where.replicas_dir):
            _private_directory(directory)
        run_dirs.claim(self.where)
        lock = os.open(self.where.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise Unavailable(
                f"another dynamod (pid {holder}) uses {self.where.state_dir}",
                remedy="stop it, or choose another state directory",
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _private_directory(directory: Path) -> None:
    """Make it for this user alone, and refuse one that belongs to another (a name in /tmp can be taken)."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise Unavailable(f"cannot use the directory {directory}: {error.strerror}") from None
    if status.st_uid != os.getuid():
        raise Unavailable(f"{directory} belongs to another user", remedy="choose another state directory")
    if stat.S_IMODE(status.st_mode) & 0o077:
        directory.chmod(0o700)


def _has_stopped(memory: Memory, graph_id: str) -> bool:
    graph = memory.graphs.get(graph_id)
    return graph is None or graph.state is GraphState.STOPPED
