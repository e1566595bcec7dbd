"""TCP ports that a graph would take."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import psutil

from dynamod.doctor.findings import fail, ok, warn
from dynamod.schema.doctor import Finding

DEFAULT_PORT = 8000


def usual_port(environ: Mapping[str, str]) -> int:
    """Where a graph with HTTP routes listens unless it is told otherwise."""
    text = environ.get("DYNAMO_PORT", "")
    return int(text) if text.isdigit() else DEFAULT_PORT


def check_port(port: int, *, host: str = "0.0.0.0") -> Finding:  # noqa: S104 - where graphs listen by default
    """Nobody listens there. It is tried, and given back at once."""
    name = f"port {port}"
    if not 0 < port < 65536:
        return fail(name, "is no port", "choose one from 1 to 65535")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            return warn(name, "only root may listen there", "serve on another: -p PORT")
        except OSError as error:
            remedy = "serve on another (-p PORT, or -p 0 for any free one), or stop who has it"
            return warn(name, f"taken{_holder(port)} ({error.strerror})", remedy)
    return ok(name, "free")


def _holder(port: int) -> str:
    """Who listens there, where the kernel lets us know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port
            if listens and connection.pid:
                return f" by pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass
    return ""
