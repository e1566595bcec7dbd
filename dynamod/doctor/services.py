"""What runs beside us and is used where it is asked for: a Docker engine, etcd, NATS."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dynamo.runtime.errors import ConfigurationError
from dynamo.runtime.settings import from_environment
from dynamod.doctor.findings import fail, ok, warn
from dynamod.schema.doctor import Finding

TIMEOUT = 3.0
DOCKER_SOCKET = "unix:///var/run/docker.sock"
_PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"


def check_docker(environ: Mapping[str, str]) -> Finding:
    """An engine answers. Only images and containers need one: that none is there is no fault, unless it was named."""
    host = environ.get("DOCKER_HOST") or DOCKER_SOCKET
    named = bool(environ.get("DOCKER_HOST"))
    url = urlsplit(host)
    try:
        if url.scheme == "unix":
            if not named and not Path(url.path).exists():
                return ok("docker", "no engine here; only images and containers need one")
            answer = _ping_unix(url.path)
        elif url.scheme in ("tcp", "http") and not environ.get("DOCKER_TLS_VERIFY"):
            answer = _ping_tcp(url.hostname or "", url.port or 2375)
        else:
            return ok("docker", f"{url.scheme}: not asked; `docker version` shows whether it answers")
    except PermissionError:
        return fail("docker", f"{host} may not be used by this user", "add the user to the group docker, or go without")
    except OSError as error:
        found = f"{host}: {error.strerror or error}"
        if not named:  # an engine that was stopped leaves its socket
            return warn("docker", found, "start the engine for images and containers, or go without")
        return fail("docker", found, "start the engine, or unset DOCKER_HOST")
    if b" 200 " not in answer.partition(b"\r\n")[0]:
        return fail("docker", f"{host} does not answer like a Docker engine", "see what serves it")
    return ok("docker", f"the engine at {host} answers")


def check_settings(environ: Mapping[str, str]) -> Iterator[Finding]:
    """The runtime's variables can be read, and the servers that they name can be reached."""
    try:
        settings = from_environment(environ)
    except ConfigurationError as error:
        yield fail("settings", str(error), "mend or unset the variable")
        return
    yield ok("settings", "the runtime's variables can be read")
    if settings.discovery.startswith(("etcd://", "etcds://")):
        for part in settings.discovery.partition("://")[2].split(","):
            yield _reachable("etcd", part.rpartition("@")[2], 2379)
    if settings.request_plane == "nats":
        yield _reachable("nats", settings.nats_server.rpartition("://")[2].rpartition("@")[2], 4222)


def _reachable(name: str, address: str, port: int) -> Finding:
    try:
        url = urlsplit(f"//{address}")
        host, port = url.hostname or "", url.port or port
        with socket.create_connection((host, port), TIMEOUT):
            return ok(name, f"{host}:{port} takes connections")
    except (OSError, ValueError) as error:
        return fail(name, f"{address}: {error}", f"start it, open the way to it, or name another {name}")


def _ping_unix(path: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(TIMEOUT)
        link.connect(path)
        link.sendall(_PING)
        return link.recv(4096)


def _ping_tcp(host: str, port: int) -> bytes:
    with socket.create_connection((host, port), TIMEOUT) as link:
        link.sendall(_PING)
        return link.recv(4096)
