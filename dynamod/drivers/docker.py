"""The Docker driver: replicas as containers of this machine's engine.

A container is named and labelled after its replica and run, so that an engine that comes back finds it; it is
never restarted by Docker, for restarting is ours. Containers share the host's network and its process numbers
(a replica is told from its earlier runs by its number), and the run directory is mounted where it is: the request
plane's Unix sockets and the discovery socket work between containers, and between containers and processes,
as they do without. They run as the daemon's own user, for those sockets are for it alone, with all capabilities
dropped.

The SDK is imported with the first container. Its calls run in threads; each running container has one thread,
which stores the container's output (see `docker_output`) and learns how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamod.core.errors import Unavailable
from dynamod.drivers.base import Container, Ended, Launch, LaunchError, NeverStarted, Observed, OnEnd, Running, Unproved
from dynamod.drivers.docker_output import Output
from dynamod.schema.locations import Locations
from dynamod.tasks import OwnedTasks

if TYPE_CHECKING:
    from docker import DockerClient

REPLICA_LABEL = "ai.dynamo.replica"
RUN_LABEL = "ai.dynamo.run"
BUILD_LABEL = "ai.dynamo.build.digest"
CALL_TIMEOUT_S = 60
RETRY_S = 1.0
_NO_SDK, _INSTALL = "the Docker SDK is not installed", "pip install 'dynamod[docker]'"
_SIGNALS_FROM = 128
_SIGNALS_TO = 128 + 64


@dataclass
class _Watched:
    """A container that runs, its output, and the thread that follows it."""

    run: int
    container: str
    output: Output
    over: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class DockerDriver:
    name = "docker"

    def __init__(self, where: Locations, on_end: OnEnd, *, mounts: Sequence[Path] = ()) -> None:
        """`mounts`: directories that every container sees where they are, besides the run directory."""
        self._where = where
        self._on_end = on_end
        self._mounts = (where.run_dir, *mounts)
        self._watched: dict[str, _Watched] = {}
        self._tasks = OwnedTasks()

    @cached_property
    def _client(self) -> DockerClient:
        import docker

        return docker.from_env(timeout=CALL_TIMEOUT_S, max_pool_size=256)

    async def check(self) -> None:
        """See `NeedsBackend`."""
        try:
            await asyncio.to_thread(self._ping)
        except ImportError:
            raise Unavailable(_NO_SDK, remedy=_INSTALL) from None
        except Exception as error:
            if not _is_docker_error(error):
                raise
            address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
            raise Unavailable(
                f"no Docker engine answers at {address}", remedy="start one, or set DOCKER_HOST for the daemon"
            ) from None

    async def start(self, launch: Launch) -> Running:
        try:
            container, pid = await asyncio.to_thread(self._start, launch)
        except ImportError:
            raise LaunchError(f"{_NO_SDK}: {_INSTALL}") from None
        except Exception as error:
            if not _is_docker_error(error):
                raise
            raise LaunchError(f"no container for replica {launch.replica_id}: {_words(error)}") from None
        self._watch(launch.replica_id, launch.run, container)
        return Running(run=launch.run, pid=pid, container=container)

    async def recover(self, replica_id: str, run: int) -> Observed:
        try:
            state = await asyncio.to_thread(self._inspect, replica_id, run)
        except Exception as error:
            if not (_is_docker_error(error) or isinstance(error, ImportError)):
                raise
            return Unproved(run, f"the Docker engine does not answer: {_words(error)}")
        if state is None:
            if self._marker(replica_id, run).exists():
                return Ended(run=run, detail="its container was removed")
            return NeverStarted(run)
        if state["State"]["Status"] in ("created", "exited", "dead"):
            await asyncio.to_thread(Output(self._where.replica_dir(replica_id), run).store, self._client, state["Id"])
            return _ended(run, state["State"])
        self._watch(replica_id, run, state["Id"])
        return Running(run=run, pid=int(state["State"]["Pid"]), container=state["Id"])

    def terminate(self, replica_id: str) -> None:
        self._signal(replica_id, "SIGTERM")

    def kill(self, replica_id: str) -> None:
        self._signal(replica_id, "SIGKILL")

    async def remove(self, replica_id: str) -> None:
        await asyncio.to_thread(self._remove, replica_id)

    async def close(self) -> None:
        await self._tasks.close()
        watched, self._watched = list(self._watched.values()), {}
        for one in watched:
            one.over.set()
            one.output.cancel()
        for one in watched:
            if one.thread is not None:
                await asyncio.to_thread(one.thread.join, CALL_TIMEOUT_S)
        if "_client" in self.__dict__:
            self._client.close()
            del self._client

    def _ping(self) -> None:
        self._client.ping()

    def _start(self, launch: Launch) -> tuple[str, int]:
        wanted = launch.container or Container()
        self._clear(launch.replica_id)
        image = wanted.image or self._image_of(wanted.build)
        marker = self._marker(launch.replica_id, launch.run)
        marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = self._client.containers.create(
            image,
            list(launch.argv[1:]),
            entrypoint=[launch.argv[0]],
            name=f"dynamo-{launch.replica_id}",
            environment=dict(launch.env),
            working_dir=launch.directory or None,
            labels={REPLICA_LABEL: self._key(launch.replica_id), RUN_LABEL: str(launch.run)},
            network_mode="host",
            pid_mode="host",
            user=f"{os.getuid()}:{os.getgid()}",
            volumes={str(path): {"bind": str(path), "mode": "rw"} for path in self._mounts},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=wanted.memory,
            nano_cpus=None if wanted.cpu is None else int(wanted.cpu * 1e9),
            device_requests=_devices(wanted.gpus),
        )
        marker.write_text(str(made.id))
        try:
            made.start()
        except Exception:
            with contextlib.suppress(Exception):
                made.remove(force=True)
            raise
        made.reload()
        return str(made.id), int(made.attrs["State"]["Pid"])

    def _clear(self, replica_id: str) -> None:
        """Remove what an earlier run of the replica left; one that runs is never touched."""
        for found in self._containers(replica_id):
            if found.status == "running":
                raise LaunchError(f"another copy of replica {replica_id} runs: container {found.short_id}")
            found.remove(force=True)

    def _image_of(self, build: str | None) -> str:
        if build is None:
            raise LaunchError("it has no image: deploy a build, or name an image in the service")
        found = self._client.images.list(filters={"label": f"{BUILD_LABEL}={build}"})
        if not found:
            raise LaunchError(f"there is no image of build {build[:12]} here: dynamoctl containerize {build[:12]}")
        return str(found[0].id)

    def _containers(self, replica_id: str) -> list[Any]:
        label = f"{REPLICA_LABEL}={self._key(replica_id)}"
        return list(self._client.containers.list(all=True, filters={"label": label}))

    def _inspect(self, replica_id: str, run: int) -> dict[str, Any] | None:
        for found in self._containers(replica_id):
            if found.labels.get(RUN_LABEL) == str(run):
                attributes: dict[str, Any] = found.attrs
                return attributes
        return None

    def _remove(self, replica_id: str) -> None:
        with _quietly():
            for found in self._containers(replica_id):
                found.remove(force=True)
        shutil.rmtree(self._where.replica_dir(replica_id), ignore_errors=True)

    def _key(self, replica_id: str) -> str:
        """Several daemons may use one Docker engine: each finds its own replicas."""
        return f"{self._where.state_dir}/{replica_id}"

    def _marker(self, replica_id: str, run: int) -> Path:
        """Exists once a container was created for the run; holds its id."""
        return self._where.replica_dir(replica_id) / f"container-{run}"

    def _watch(self, replica_id: str, run: int, container: str) -> None:
        loop = asyncio.get_running_loop()
        watched = _Watched(run, container, Output(self._where.replica_dir(replica_id), run))

        def follow() -> None:
            ended = self._follow(watched)
            if ended is not None and not watched.over.is_set():
                with contextlib.suppress(RuntimeError):  # the loop has gone with the engine
                    loop.call_soon_threadsafe(self._tell, replica_id, watched, ended)

        watched.thread = threading.Thread(target=follow, name=f"container {replica_id}", daemon=True)
        self._watched[replica_id] = watched
        watched.thread.start()

    def _follow(self, watched: _Watched) -> Ended | None:
        """Store output until the container has ended; None when nobody wants to know any more."""
        while not watched.over.is_set():
            with _quietly() as failed:
                watched.output.follow(self._client, watched.container)
                state = self._client.api.inspect_container(watched.container)["State"]
                if state["Status"] in ("exited", "dead"):
                    return _ended(watched.run, state)
            if failed and type(failed[0]).__name__ == "NotFound":
                return Ended(run=watched.run, detail="its container was removed")
            watched.over.wait(RETRY_S if failed else 0.02)
        return None

    def _tell(self, replica_id: str, watched: _Watched, ended: Ended) -> None:
        if self._watched.get(replica_id) is watched:
            del self._watched[replica_id]
            self._on_end(replica_id, ended)

    def _signal(self, replica_id: str, name: str) -> None:
        watched = self._watched.get(replica_id)
        if watched is not None:
            self._tasks.start(asyncio.to_thread(self._send, watched.container, name), f"{name} to {replica_id}")

    def _send(self, container: str, name: str) -> None:
        with _quietly():  # it may have ended meanwhile; its thread finds out
            self._client.api.kill(container, name)


class _quietly(contextlib.AbstractContextManager[list[Exception]]):  # noqa: N801 - reads as a verb, like suppress
    """Swallow errors of the engine and of the way to it, and keep them."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def __enter__(self) -> list[Exception]:
        return self.errors

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if isinstance(error, Exception) and _is_docker_error(error):
            self.errors.append(error)
            return True
        return False


def _is_docker_error(error: Exception) -> bool:
    """Errors of the SDK, and those of its HTTP client, which are OSErrors."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] == "docker"


def _words(error: Exception) -> str:
    text = str(getattr(error, "explanation", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _devices(uuids: Sequence[str]) -> list[Any] | None:
    if not uuids:
        return None
    from docker.types import DeviceRequest

    return [DeviceRequest(device_ids=list(uuids), capabilities=[["gpu"]])]


def _ended(run: int, state: dict[str, Any]) -> Ended:
    """Docker, as shells do, adds 128 to the number of the signal that ended a program."""
    code = int(state["ExitCode"])
    by_signal = _SIGNALS_FROM < code <= _SIGNALS_TO
    return Ended(
        run=run,
        code=None if by_signal else code,
        signal=code - _SIGNALS_FROM if by_signal else None,
        oom_kills=int(bool(state.get("OOMKilled"))),
        spawned=state["Status"] != "created",
        detail=str(state.get("Error") or ""),
    )
