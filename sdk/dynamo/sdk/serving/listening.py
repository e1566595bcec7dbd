"""Sockets that replicas listen on for HTTP. Workers of one service share their port; strangers do not."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

from dynamo.runtime.keys import replicas_prefix
from dynamo.runtime.status import ReplicaStatus, decode_status
from dynamo.sdk.errors import ConfigError

if TYPE_CHECKING:
    from dynamo.runtime import DistributedRuntime

_SIBLING_WAIT = 10.0  # seconds in which a worker that starts beside this one says which port it has
_LOOK_AGAIN = 0.05


class PortInUse(ConfigError):
    """Somebody else listens there."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"cannot listen on {host}:{port}: the port is in use; choose another one with --port")


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens there; port 0 takes any free one.

    Args:
        shared: other workers of the same service listen on this port; the kernel spreads connections.

    Raises:
        PortInUse: somebody else listens there.
        ConfigError: the address cannot be used for another reason.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigError(f"cannot listen on {host}: {error.strerror}") from None
    exclusive = _bind(family, address, reuse_port=False) if port else None
    if exclusive is not None:
        exclusive.close()
    elif port and not shared:
        raise PortInUse(host, port)
    # Workers that are started later can join on the port only if the first one allowed it.
    bound = _bind(family, address, reuse_port=True)
    if bound is None:
        raise PortInUse(host, port)
    return bound


def _bind(family: int, address: Any, *, reuse_port: bool) -> socket.socket | None:
    """None when somebody else has the port."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
        made.listen(2048)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise ConfigError(f"cannot listen on {address[0]}:{address[1]}: {error.strerror}") from None
    made.setblocking(False)
    return made


async def listen_beside_siblings(
    runtime: DistributedRuntime, own: ReplicaStatus, host: str, port: int
) -> socket.socket:
    """A socket on a port that only workers of the service whose status is `own` may share.

    Workers that start together all see a port in use before its first holder has said so: they look again.

    Raises:
        PortInUse: somebody else has the port.
        ConfigError: the address cannot be used for another reason.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _SIBLING_WAIT
    while True:
        siblings = await _siblings(runtime, own) if port else []
        try:
            return listen(host, port, shared=any(status.http.endswith(f":{port}") for status in siblings))
        except PortInUse:
            if loop.time() > deadline or not any(status.state == "starting" for status in siblings):
                raise
        await asyncio.sleep(_LOOK_AGAIN)


async def _siblings(runtime: DistributedRuntime, own: ReplicaStatus) -> list[ReplicaStatus]:
    """What other workers of the service say of themselves."""
    snapshot = await runtime.discovery.get_prefix(replicas_prefix(runtime.scope))
    statuses = [decode_status(item.value) for item in snapshot.items]
    return [status for status in statuses if status.service == own.service and status.replica_id != own.replica_id]
