"""What the pods of a graph say of themselves, for an observer outside of their discovery.

Each pod's system app tells what its process holds in discovery. That goes into our own store, with addresses that work
from here: those of the pods where they can be dialled, else ends of tunnels. So metrics and the KV router's feed of
a cluster are followed exactly like those of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from dynamo.runtime import keys
from dynamo.runtime.discovery.store import Store
from dynamo.runtime.host import host_id
from dynamo.runtime.status import Address, ReplicaStatus, decode_status
from dynamod.drivers.environment import sockets_dir
from dynamod.drivers.kubernetes.pod_streams import PodStreams
from dynamod.drivers.kubernetes.tunnel import LOOPBACK, Tunnel
from dynamod.schema.locations import Locations
from dynamod.tasks import OwnedTasks

log = logging.getLogger(__name__)

Mode = Literal["auto", "direct", "tunnel"]

EAGER_S = 1.0
"""Seconds between questions to a pod that is not ready; and to one that is: what it serves changes rarely then."""
CALM_S = 5.0
DIAL_S = 1.0
ANSWER_S = 5.0
ANSWER_BYTES = 1 << 22


@dataclass(frozen=True)
class Reachable:
    """A pod that runs. `http` is the port of its HTTP face."""

    name: str
    uid: str
    ip: str
    system: int
    http: int | None


@dataclass
class _Visit:
    pod: Reachable
    direct: bool | None = None
    ready: bool = False
    held: dict[str, bytes] = field(default_factory=dict)
    tunnels: dict[str, Tunnel] = field(default_factory=dict)
    status: ReplicaStatus | None = None
    address: str | None = None
    plane: str = ""


class Reach:
    """The pods of one graph. `changed` is called when one of them has said something new."""

    def __init__(
        self,
        streams: PodStreams,
        where: Locations,
        store: Store,
        scope: str,
        mode: Mode,
        changed: Callable[[], None],
    ) -> None:
        self._streams = streams
        self._where = where
        self._store = store
        self._scope = scope
        self._mode = mode
        self._changed = changed
        self._tasks = OwnedTasks()
        self._visits: dict[str, tuple[_Visit, asyncio.Task[Any]]] = {}

    def follow(self, pods: Mapping[str, Reachable]) -> None:
        """Ask exactly these from now on."""
        for name, (visit, task) in list(self._visits.items()):
            if pods.get(name) != visit.pod:
                task.cancel()
                del self._visits[name]
        for name, pod in pods.items():
            if name not in self._visits:
                visit = _Visit(pod, direct=None if self._mode == "auto" else self._mode == "direct")
                self._visits[name] = (visit, self._tasks.start(self._visit(visit), f"ask {name}"))

    def status(self, name: str) -> ReplicaStatus | None:
        """What the pod has said of itself last."""
        known = self._visits.get(name)
        return known[0].status if known is not None else None

    def address(self, name: str) -> str | None:
        """The base URL of its HTTP face, as it is reached from here."""
        known = self._visits.get(name)
        return known[0].address if known is not None else None

    async def close(self) -> None:
        self._visits.clear()
        await self._tasks.close()

    async def _visit(self, visit: _Visit) -> None:
        try:
            while True:
                try:
                    await self._ask(visit)
                except (OSError, TimeoutError, ValueError, EOFError, msgspec.MsgspecError) as error:
                    log.debug("pod %s does not tell what it holds: %s", visit.pod.name, error)
                await asyncio.sleep(CALM_S if visit.status is not None and visit.status.state == "ready" else EAGER_S)
        finally:
            for key in visit.held:
                self._store.delete(key)
            for tunnel in visit.tunnels.values():
                await tunnel.close()
            with contextlib.suppress(OSError):
                sockets_dir(self._where, visit.pod.name).rmdir()

    async def _ask(self, visit: _Visit) -> None:
        told = await self._registered(visit)
        own = keys.replica_key(self._scope, visit.pod.name)
        if own not in told:
            if told and visit.direct:
                raise ValueError("another process answers at its address")
            return  # it has no lease yet
        visit.status = decode_status(told[own].encode())
        await self._open_ways(visit)
        held = {key: self._as_reached(visit, value) for key, value in told.items()}
        for key in visit.held.keys() - held.keys():
            self._store.delete(key)
        for key, value in held.items():
            if visit.held.get(key) != value:
                self._store.put(key, value)
        if held != visit.held:
            visit.held = held
            self._changed()

    async def _registered(self, visit: _Visit) -> dict[str, str]:
        """Ask at the pod's own address, or through a tunnel; which of them is found out at the first answer."""
        pod = visit.pod
        if visit.direct is not False:
            try:
                async with asyncio.timeout(DIAL_S):
                    reader, writer = await asyncio.open_connection(pod.ip, pod.system)
                told = await _get(reader, writer)
            except ConnectionRefusedError:  # it can be reached, and does not listen yet
                raise
            except (OSError, TimeoutError, EOFError, ValueError):
                if visit.direct:
                    raise
            else:
                if visit.direct or keys.replica_key(self._scope, pod.name) in told:
                    visit.direct = True
                    return told
                if not told:
                    return told
            visit.direct = False
        path = await self._unix(visit, "system", pod.system)
        return await _get(*await asyncio.open_unix_connection(path))

    async def _open_ways(self, visit: _Visit) -> None:
        """Tunnels to its request plane and its HTTP face, where it cannot be dialled."""
        assert visit.status is not None
        port = visit.status.address.tcp.rpartition(":")[2]
        if visit.direct:
            visit.address = visit.status.http or None
            return
        if port.isdigit():
            visit.plane = await self._unix(visit, "plane", int(port))
        if visit.pod.http is not None and "http" not in visit.tunnels:
            tunnel = visit.tunnels["http"] = Tunnel(self._streams, visit.pod.name, visit.pod.http)
            visit.address = f"http://{LOOPBACK}:{await tunnel.open_tcp()}"

    async def _unix(self, visit: _Visit, what: str, port: int) -> str:
        """The end of a tunnel that the daemon's user alone can enter."""
        directory = sockets_dir(self._where, visit.pod.name)
        path = directory / f"{what}.sock"
        known = visit.tunnels.get(what)
        if known is None or known.port != port:
            if known is not None:
                await known.close()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            tunnel = visit.tunnels[what] = Tunnel(self._streams, visit.pod.name, port)
            await tunnel.open_unix(path)
        return str(path)

    def _as_reached(self, visit: _Visit, value: str) -> bytes:
        """A value of discovery with the address that works from here."""
        if visit.direct:
            return value.encode()
        plain = msgspec.json.decode(value)
        if isinstance(plain, dict) and isinstance(plain.get("address"), dict):
            reached = Address(host_id=host_id(), unix=visit.plane) if visit.plane else Address()
            plain["address"] = msgspec.to_builtins(reached)
        return msgspec.json.encode(plain)


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, str]:
    """`GET /registered`. Raises OSError, TimeoutError, EOFError and ValueError."""
    try:
        async with asyncio.timeout(ANSWER_S):
            writer.write(b"GET /registered HTTP/1.0\r\nhost: pod\r\nconnection: close\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            if head.split(None, 2)[1:2] != [b"200"]:
                raise ValueError(head.partition(b"\r\n")[0].decode(errors="replace"))
            body = await reader.read(ANSWER_BYTES)
            while chunk := await reader.read(ANSWER_BYTES):
                body += chunk
                if len(body) > ANSWER_BYTES:
                    raise ValueError("its answer is too long")
    finally:
        writer.close()
    return msgspec.json.decode(body, type=dict[str, str])
