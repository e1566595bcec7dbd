"""The Docker driver: replicas as containers of this machine's engine.

A container is named and labelled after its replica and run, so that an engine that comes back finds it; it is
never restarted by Docker, for restarting is ours. The run directory is mounted where it is: the request plane's
Unix sockets and the discovery socket work between containers, and between containers and processes, as they do
without. Each graph has a network of its own, which replicas are on that nobody reaches by TCP from outside (see
`environment`); the others share the host's.

The SDK's calls run in threads; each running container has one thread, which stores the container's output (see
`docker_output`) and learns how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamod.docker_engine import connect, first_line, is_engine_error, status_of
from dynamod.drivers.base import Container, Ended, Launch, LaunchError, NeverStarted, Observed, OnEnd, Running, Unproved
from dynamod.drivers.docker_containers import (
    REPLICA_LABEL,
    RUN_LABEL,
    address_in,
    ended,
    failure,
    image_for,
    settings,
)
from dynamod.drivers.docker_networks import Networks
from dynamod.drivers.docker_output import Output
from dynamod.schema.locations import Locations
from dynamod.schema.states import Reason
from dynamod.tasks import OwnedTasks

if TYPE_CHECKING:
    from docker import DockerClient

CALL_TIMEOUT_S = 60
RETRY_S = 1.0
_GONE, _NOT_RUNNING = 404, 409


@dataclass
class _Watched:
    """A container that runs, its output, and the thread that follows it. `trouble`: why nothing is known of it."""

    run: int
    container: str
    address: str
    output: Output
    over: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    trouble: str = ""
    executing: bool = False


class DockerDriver:
    name = "docker"

    def __init__(self, where: Locations, on_end: OnEnd, *, mounts: Sequence[Path] = ()) -> None:
        """`mounts`: directories that every container sees where they are, besides the run directory."""
        self._where = where
        self._on_end = on_end
        self._mounts = (where.run_dir, *mounts)
        self._watched: dict[str, _Watched] = {}
        self._networks = Networks(str(where.state_dir))
        self._tasks = OwnedTasks()
        self._connecting = threading.Lock()
        self._connected: DockerClient | None = None

    def _client(self) -> DockerClient:
        with self._connecting:
            if self._connected is None:
                self._connected = connect(timeout=CALL_TIMEOUT_S, connections=256)
            return self._connected

    # -- the engine as a whole

    async def check(self) -> None:
        """See `NeedsBackend`."""
        await asyncio.to_thread(lambda: connect(timeout=CALL_TIMEOUT_S).close())

    async def prepare(self, launch: Launch) -> None:
        """See `NeedsBackend`."""
        await self._attempt(launch.replica_id, lambda: image_for(self._client(), launch.container or Container()))

    async def sweep(self, known: Collection[str]) -> None:
        """See `NeedsBackend`."""
        while True:
            try:
                await asyncio.to_thread(self._sweep, frozenset(known))
                return
            except Exception as error:
                if not is_engine_error(error):
                    raise
            await asyncio.sleep(RETRY_S)

    # -- one replica

    async def start(self, launch: Launch) -> Running:
        made = await self._attempt(launch.replica_id, lambda: self._start(launch))
        self._watch(launch.replica_id, launch.run, made)
        return Running(run=launch.run, pid=int(made["State"]["Pid"]), container=made["Id"])

    async def recover(self, replica_id: str, run: int) -> Observed:
        try:
            found = await asyncio.to_thread(self._inspect, replica_id, run)
            if found is None:
                if self._marker(replica_id, run).exists():
                    return Ended(run=run, detail="its container was removed")
                return NeverStarted(run)
            if found["State"]["Status"] in ("created", "exited", "dead"):
                output = Output(self._where.replica_dir(replica_id), run)
                await asyncio.to_thread(output.store, self._client(), found["Id"])
                return ended(run, found["State"])
        except Exception as error:
            if not is_engine_error(error):
                raise
            text = f"the Docker engine does not answer: {first_line(error)}"
            return Unproved(run, text, Reason.BACKEND_UNREACHABLE)
        self._watch(replica_id, run, found)
        return Running(run=run, pid=int(found["State"]["Pid"]), container=found["Id"])

    async def execute(self, launch: Launch, argv: Sequence[str]) -> tuple[int, bytes]:
        watched = self._watched.get(launch.replica_id)
        if watched is None:
            raise OSError("it does not run")
        if watched.executing:
            raise OSError("the command before it has not ended yet")
        watched.executing = True
        try:
            return await asyncio.to_thread(self._execute, watched, argv)
        except Exception as error:
            if not is_engine_error(error):
                raise
            raise OSError(first_line(error)) from None

    def host_of(self, replica_id: str) -> str:
        watched = self._watched.get(replica_id)
        return watched.address if watched is not None else "127.0.0.1"

    def doubt(self, replica_id: str) -> str:
        watched = self._watched.get(replica_id)
        return watched.trouble if watched is not None else ""

    def terminate(self, replica_id: str) -> None:
        self._signal(replica_id, "SIGTERM")

    def kill(self, replica_id: str) -> None:
        self._signal(replica_id, "SIGKILL")

    async def remove(self, replica_id: str, *, keep_output: bool = False) -> None:
        """Waits for an engine that does not answer, for a container must not be left behind."""
        directory = self._where.replica_dir(replica_id)
        while any(directory.glob("container-*")):
            try:
                await asyncio.to_thread(self._remove, replica_id)
                break
            except Exception as error:
                if not is_engine_error(error):
                    raise
            await asyncio.sleep(RETRY_S)
        if not keep_output:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def close(self) -> None:
        await self._tasks.close()
        watched, self._watched = list(self._watched.values()), {}
        for one in watched:
            one.over.set()
            one.output.cancel()
        for one in watched:
            if one.thread is not None:
                await asyncio.to_thread(one.thread.join, CALL_TIMEOUT_S)
        if self._connected is not None:
            self._connected.close()
            self._connected = None

    # -- in threads

    async def _attempt(self, replica_id: str, work: Any) -> Any:
        """Raises `LaunchError` for whatever the engine says."""
        try:
            return await asyncio.to_thread(work)
        except LaunchError:
            raise
        except Exception as error:
            if not is_engine_error(error):
                raise
            raise failure(replica_id, error) from None

    def _start(self, launch: Launch) -> dict[str, Any]:
        """The started container, inspected."""
        client, wanted = self._client(), launch.container or Container()
        self._clear(launch.replica_id)
        image = image_for(client, wanted)
        marker = self._marker(launch.replica_id, launch.run)
        marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        labels = {REPLICA_LABEL: self._key(launch.replica_id), RUN_LABEL: str(launch.run)}
        arguments = settings(launch, labels, self._mounts)
        if wanted.network is not None:
            (marker.parent / "network").write_text(wanted.network)
            self._networks.ensure(client, wanted.network)
            arguments["networking_config"] = {
                wanted.network: client.api.create_endpoint_config(aliases=[wanted.alias] if wanted.alias else None)
            }
        made = client.containers.create(image, **arguments)
        marker.write_text(str(made.id))
        try:
            made.start()
        except Exception:
            with contextlib.suppress(Exception):
                made.remove(force=True)
            raise
        made.reload()
        found: dict[str, Any] = made.attrs
        return found

    def _clear(self, replica_id: str) -> None:
        """Remove what an earlier run of the replica left; one that runs is never touched."""
        for found in self._containers(replica_id):
            if found.status == "running":
                raise LaunchError(f"another copy of replica {replica_id} runs: container {found.short_id}")
            found.remove(force=True)

    def _containers(self, replica_id: str) -> list[Any]:
        label = f"{REPLICA_LABEL}={self._key(replica_id)}"
        return list(self._client().containers.list(all=True, filters={"label": label}))

    def _inspect(self, replica_id: str, run: int) -> dict[str, Any] | None:
        for found in self._containers(replica_id):
            if found.labels.get(RUN_LABEL) == str(run):
                attributes: dict[str, Any] = found.attrs
                return attributes
        return None

    def _execute(self, watched: _Watched, argv: Sequence[str]) -> tuple[int, bytes]:
        try:
            api = self._client().api
            made = api.exec_create(watched.container, list(argv))["Id"]
            output: bytes = api.exec_start(made)
            return int(api.exec_inspect(made)["ExitCode"] or 0), output
        finally:
            watched.executing = False

    def _remove(self, replica_id: str) -> None:
        for found in self._containers(replica_id):
            found.remove(force=True)
        with contextlib.suppress(FileNotFoundError):
            self._networks.release(self._client(), (self._where.replica_dir(replica_id) / "network").read_text())

    def _sweep(self, known: Collection[str]) -> None:
        prefix = self._key("")
        for found in self._client().containers.list(all=True, filters={"label": REPLICA_LABEL}):
            label = found.labels[REPLICA_LABEL]
            if label.startswith(prefix) and label.removeprefix(prefix) not in known:
                found.remove(force=True)
        self._networks.sweep(self._client())

    def _key(self, replica_id: str) -> str:
        """Several daemons may use one Docker engine: each finds its own replicas."""
        return f"{self._where.state_dir}/{replica_id}"

    def _marker(self, replica_id: str, run: int) -> Path:
        """Exists once a container was created for the run; holds its id."""
        return self._where.replica_dir(replica_id) / f"container-{run}"

    # -- watching

    def _watch(self, replica_id: str, run: int, found: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        watched = _Watched(run, found["Id"], address_in(found), Output(self._where.replica_dir(replica_id), run))

        def follow() -> None:
            end = self._follow(watched)
            if end is not None and not watched.over.is_set():
                with contextlib.suppress(RuntimeError):  # the loop has gone with the engine
                    loop.call_soon_threadsafe(self._tell, replica_id, watched, end)

        watched.thread = threading.Thread(target=follow, name=f"container {replica_id}", daemon=True)
        self._watched[replica_id] = watched
        watched.thread.start()

    def _follow(self, watched: _Watched) -> Ended | None:
        """Store output until the container has ended; None when nobody wants to know any more."""
        while not watched.over.is_set():
            try:
                watched.output.follow(self._client(), watched.container)
                state = self._client().api.inspect_container(watched.container)["State"]
                watched.trouble = ""
                if state["Status"] in ("exited", "dead"):
                    return ended(watched.run, state)
            except Exception as error:
                if not is_engine_error(error):
                    raise
                if status_of(error) == _GONE:
                    return Ended(run=watched.run, detail="its container was removed")
                watched.trouble = f"the Docker engine does not answer: {first_line(error)}"
            watched.over.wait(RETRY_S if watched.trouble else 0.02)
        return None

    def _tell(self, replica_id: str, watched: _Watched, end: Ended) -> None:
        if self._watched.get(replica_id) is watched:
            del self._watched[replica_id]
            self._on_end(replica_id, end)

    def _signal(self, replica_id: str, name: str) -> None:
        watched = self._watched.get(replica_id)
        if watched is not None:
            self._tasks.start(self._send(replica_id, watched, name), f"{name} to {replica_id}")

    async def _send(self, replica_id: str, watched: _Watched, name: str) -> None:
        """Until it has arrived, or there is nobody to get it: an engine that is away for a while must not lose it."""
        while self._watched.get(replica_id) is watched:
            try:
                await asyncio.to_thread(lambda: self._client().api.kill(watched.container, name))
                return
            except Exception as error:
                if not is_engine_error(error):
                    raise
                if status_of(error) in (_GONE, _NOT_RUNNING):
                    return  # its thread finds out
            await asyncio.sleep(RETRY_S)
