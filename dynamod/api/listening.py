"""The sockets that the API is served on: made private before anyone can find them."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

BACKLOG = 512


class ListenError(Exception):
    """A socket that cannot be listened on: what, where, why."""


def unix_listener(path: Path) -> socket.socket:
    """A listening Unix socket that only this user may connect to.

    A socket file that nobody serves any more is replaced.

    Raises:
        ListenError: somebody serves it, or it cannot be made.
    """
    if _is_served(path):
        raise ListenError(f"another program serves {path}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)
        # Made under another name, closed to others and listening before anyone can find it.
        listener.bind(str(draft))
        draft.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        draft.rename(path)
    except OSError as error:
        listener.close()
        draft.unlink(missing_ok=True)
        raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from None
    return listener


def tcp_listener(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Raises:
        ListenError: the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}:{port}: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def _is_served(path: Path) -> bool:
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(1.0)
    try:
        probe.connect(str(path))
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR)
    finally:
        probe.close()
    return True
