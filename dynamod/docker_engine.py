"""The way to a Docker engine: found, connected to, and its errors understood.

The engine is the one of the environment (`DOCKER_HOST`, `DOCKER_TLS_VERIFY`, …). Its SDK is imported with the first
connection, and blocks: everything here is for threads.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from dynamod.core.errors import Unavailable

if TYPE_CHECKING:
    from docker import DockerClient

_FULL = ("no space left on device", "disk quota exceeded")


class NoEngine(Unavailable):
    """No Docker engine answers, or the SDK is not installed."""

    type = "no-docker-engine"


def address() -> str:
    return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def connect(*, timeout: int, connections: int = 10) -> DockerClient:
    """A client of the engine, once it has answered. `timeout` in seconds, of one silence.

    Raises:
        NoEngine: nobody answers, or the SDK is missing.
    """
    try:
        import docker
    except ImportError:
        raise NoEngine("the Docker SDK is not installed", remedy="pip install 'dynamod[docker]'") from None
    nobody = NoEngine(f"no Docker engine answers at {address()}", remedy="start one, or set DOCKER_HOST to one")
    if address().startswith("unix://") and not _listens(address().removeprefix("unix://")):
        raise nobody
    try:
        return docker.from_env(timeout=timeout, max_pool_size=connections)  # it asks for the engine's version
    except (docker.errors.DockerException, OSError):
        raise nobody from None


def is_engine_error(error: Exception) -> bool:
    """Errors of the SDK, and those of its HTTP client, which are OSErrors."""
    return isinstance(error, OSError | NoEngine) or type(error).__module__.partition(".")[0] == "docker"


def status_of(error: Exception) -> int | None:
    """The HTTP status of an engine's refusal; None when it did not get that far."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def is_disk_full(error: Exception) -> bool:
    return any(words in str(error).lower() for words in _FULL)


def first_line(error: Exception) -> str:
    """What the engine says, in its own words."""
    text = str(getattr(error, "explanation", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _listens(path: str) -> bool:
    """Does somebody? The SDK, too, would find out, and leave its socket open."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
