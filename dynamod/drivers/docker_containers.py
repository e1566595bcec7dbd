"""A replica's container: what it is made with, which image it needs, and what its end means."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamod.docker_engine import NoEngine, first_line, is_disk_full, status_of
from dynamod.drivers.base import Container, Ended, Launch, LaunchError, Obstacle
from dynamod.schema.states import Reason

if TYPE_CHECKING:
    from docker import DockerClient

REPLICA_LABEL = "ai.dynamo.replica"
RUN_LABEL = "ai.dynamo.run"
BUILD_LABEL = "ai.dynamo.build.digest"

MOST_PROCESSES = 8192
"""Of one container, threads included: far above what an engine of a large model has, far below what a host has."""

SHARED_MEMORY = 8 << 30
"""Bytes of /dev/shm, which PyTorch's processes talk over; what is used of it counts as the container's memory."""

_SIGNALS_FROM = 128
_SIGNALS_TO = 128 + 64


def settings(launch: Launch, labels: dict[str, str], mounts: Sequence[Path]) -> dict[str, Any]:
    """Arguments of the SDK's `containers.create`, less the image.

    It runs as the daemon's own user, for the sockets in `mounts` are for it alone, without any capability. What is on
    the graph's network reaches the host's own services as `host.docker.internal`.
    """
    wanted = launch.container or Container()
    made: dict[str, Any] = {
        "command": list(launch.argv[1:]),
        "entrypoint": [launch.argv[0]],
        "name": f"dynamo-{launch.replica_id}",
        "environment": dict(launch.env),
        "working_dir": launch.directory or None,
        "labels": labels,
        "init": True,
        "user": f"{os.getuid()}:{os.getgid()}",
        "volumes": {str(path): {"bind": str(path), "mode": "rw"} for path in mounts},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "mem_limit": wanted.memory,
        "memswap_limit": wanted.memory,
        "nano_cpus": None if wanted.cpu is None else int(wanted.cpu * 1e9),
        "pids_limit": MOST_PROCESSES,
        "shm_size": min(SHARED_MEMORY, wanted.memory or SHARED_MEMORY),
        "device_requests": _devices(wanted.gpus),
    }
    if wanted.network is None:
        return made | {"network_mode": "host"}
    return made | {
        "network": wanted.network,
        "hostname": launch.replica_id[:63],
        "extra_hosts": {"host.docker.internal": "host-gateway"},
    }


def _devices(uuids: Sequence[str]) -> list[Any] | None:
    if not uuids:
        return None
    from docker.types import DeviceRequest

    return [DeviceRequest(device_ids=list(uuids), capabilities=[["gpu"]])]


def image_for(client: DockerClient, wanted: Container) -> str:
    """The image to start from; one that a service names is fetched where it is not here.

    Raises:
        Obstacle: it is not here, and cannot be fetched.
        LaunchError: there is none to look for.
    """
    if wanted.image is not None:
        return _named(client, wanted.image)
    if wanted.build is None:
        raise LaunchError("it has no image: deploy a build, or name an image in the service")
    found = client.images.list(filters={"label": f"{BUILD_LABEL}={wanted.build}"})
    if not found:
        short = wanted.build[:12]
        text = f"there is no image of build {short} here: dynamoctl containerize {short}"
        raise Obstacle(text, Reason.IMAGE_UNAVAILABLE)
    return str(found[0].id)


def _named(client: DockerClient, name: str) -> str:
    from docker.errors import APIError, ImageNotFound

    try:
        client.images.get(name)
    except ImageNotFound:
        try:
            client.images.pull(name if "@" in name or ":" in name.rpartition("/")[2] else f"{name}:latest")
        except APIError as error:
            if is_disk_full(error):
                raise
            text = f"image {name} is not here and cannot be pulled: {first_line(error)}"
            raise Obstacle(text, Reason.IMAGE_UNAVAILABLE) from None
    return name


def failure(replica_id: str, error: Exception) -> LaunchError:
    """What an error of the engine means for a start."""
    text = f"no container for replica {replica_id}: {first_line(error)}"
    if is_disk_full(error):
        return Obstacle(f"{text}; make room on the engine's disk", Reason.DISK_FULL)
    if isinstance(error, NoEngine):
        return Obstacle(str(error), Reason.BACKEND_UNREACHABLE)
    if status_of(error) is None:
        return Obstacle(f"the Docker engine does not answer: {first_line(error)}", Reason.BACKEND_UNREACHABLE)
    return LaunchError(text)


def ended(run: int, state: dict[str, Any]) -> Ended:
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


def address_in(attributes: dict[str, Any]) -> str:
    """Where its ports are reached from this host, of an inspected container."""
    networks = attributes["NetworkSettings"]["Networks"] or {}
    found = next((network["IPAddress"] for network in networks.values() if network.get("IPAddress")), "")
    return found or "127.0.0.1"
