"""The stream plane: one listener per process, one dialled connection per peer, Unix socket or TCP by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynamo.runtime.errors import ConfigurationError, InstanceUnavailable
from dynamo.runtime.host import host_id
from dynamo.runtime.status import Address
from dynamo.runtime.transport.base import Call, Handler
from dynamo.runtime.transport.calling import CallingConnection
from dynamo.runtime.transport.connection import Limits
from dynamo.runtime.transport.serving import ServingConnection

logger = logging.getLogger(__name__)

_MAX_UNIX_PATH = 107  # sizeof(sockaddr_un.sun_path) - 1 on Linux
_BACKLOG = 1024


class StreamPlane:
    """`RequestPlane` over sockets.

    `run_dir`: where this process's Unix socket is made. `tcp_host`: the address that other hosts reach this
    one by; without it no TCP port is opened. `tcp_any`: it listens on every address, and still tells that one.
    """

    def __init__(
        self, run_dir: Path, *, tcp_host: str | None = None, tcp_any: bool = False, limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self._run_dir = run_dir
        self._tcp_host = tcp_host
        self._tcp_any = tcp_any
        self._address = Address()
        self._handlers: dict[str, Handler] = {}
        self._servers: list[asyncio.Server] = []
        self._serving: set[ServingConnection] = set()
        self._calling: dict[Address, CallingConnection] = {}
        self._dialling: dict[Address, asyncio.Task[CallingConnection]] = {}
        self._listening = asyncio.Lock()
        self._draining = False
        self._done = asyncio.Event()
        self._ticker: asyncio.TimerHandle | None = None
        self._closed = False

    # -- serving

    @property
    def address(self) -> Address:
        return self._address

    @property
    def connections(self) -> set[ServingConnection]:
        """Connections that others have dialled."""
        return self._serving

    async def listen(self) -> Address:
        async with self._listening:
            if not self._servers:
                await self._listen()
        return self._address

    async def listen_at(self, path: Path) -> Address:
        """Listen on one given Unix socket and nothing else (the discovery server's way)."""
        async with self._listening:
            await self._listen_unix(path)
            self._address = Address(host_id=host_id(), unix=str(path))
        return self._address

    def add(self, handler: Handler) -> None:
        if handler.target in self._handlers:
            raise ValueError(f"{handler.target} is served by this process already")
        self._handlers[handler.target] = handler

    def remove(self, target: str) -> None:
        self._handlers.pop(target, None)

    def drain(self) -> None:
        self._draining = True
        for connection in self._serving:
            connection.drain()

    async def idle(self) -> None:
        while any(handler.running for handler in self._handlers.values() if not handler.endless):
            self._done.clear()
            await self._done.wait()

    # -- calling

    async def call(
        self,
        address: Address,
        target: str,
        payload: Any,
        headers: Mapping[str, Any] | None = None,
        *,
        instance_id: int = 0,
        endpoint: str = "",
    ) -> Call:
        connection = self._calling.get(address)
        if connection is None or connection.closed or connection.going_away:
            connection = await self._dial(address, instance_id, endpoint or target)
        if not connection.writable:
            await connection.until_writable()
        return connection.open(target, payload, headers, instance_id, endpoint or target)

    def load(self, address: Address) -> int:
        connection = self._calling.get(address)
        return len(connection.calls) if connection is not None else 0

    async def close(self) -> None:
        self._closed = True
        if self._ticker is not None:
            self._ticker.cancel()
        for dialling in list(self._dialling.values()):
            dialling.cancel()
        for server in self._servers:
            server.close()
        if self._address.unix:
            with contextlib.suppress(FileNotFoundError):
                Path(self._address.unix).unlink()  # noqa: ASYNC240  # one local system call
        connections = [*self._calling.values(), *self._serving]
        for connection in connections:
            connection.close()
        if connections:
            _, stuck = await asyncio.wait(
                [asyncio.ensure_future(connection.wait_closed()) for connection in connections], timeout=1.0
            )
            for waiting in stuck:
                waiting.cancel()
            for connection in connections:
                connection.abort()
        tasks = [call.task for serving in self._serving for call in serving.calls.values() if call.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    # -- inside

    async def _listen(self) -> None:
        path = self._run_dir / f"{os.getpid():x}-{secrets.token_hex(4)}.sock"
        await self._listen_unix(path)
        tcp = ""
        if self._tcp_host:
            loop = asyncio.get_running_loop()
            everywhere = "::" if ":" in self._tcp_host else "0.0.0.0"  # noqa: S104 - where it is asked for
            host = everywhere if self._tcp_any else self._tcp_host
            server = await loop.create_server(self._accept, host, 0, backlog=_BACKLOG)
            self._servers.append(server)
            port = server.sockets[0].getsockname()[1]
            tcp = f"[{self._tcp_host}]:{port}" if ":" in self._tcp_host else f"{self._tcp_host}:{port}"
        self._address = Address(host_id=host_id(), unix=str(path), tcp=tcp)

    async def _listen_unix(self, path: Path) -> None:
        if len(os.fsencode(path)) > _MAX_UNIX_PATH:
            raise ConfigurationError(
                f"the socket path {path} is longer than {_MAX_UNIX_PATH} bytes: use a shorter directory"
            )
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            path.chmod(0o600)  # noqa: ASYNC240  # one local system call
            listener.setblocking(False)
            server = await asyncio.get_running_loop().create_unix_server(self._accept, sock=listener, backlog=_BACKLOG)
        except BaseException:
            listener.close()
            raise
        self._servers.append(server)

    def _accept(self) -> ServingConnection:
        return ServingConnection(self.limits, self._handlers, self._made, self._serving.discard, self._done.set)

    def _made(self, connection: ServingConnection) -> None:
        self._serving.add(connection)
        self._keep_alive()
        if self._draining:
            connection.drain()

    async def _dial(self, address: Address, instance_id: int, endpoint: str) -> CallingConnection:
        """The connection to `address`; concurrent callers share one attempt."""
        if self._closed:
            raise InstanceUnavailable("this runtime is shut down", endpoint=endpoint, instance=instance_id)
        attempt = self._dialling.get(address)
        if attempt is None:
            attempt = asyncio.get_running_loop().create_task(self._connect(address))
            self._dialling[address] = attempt
            attempt.add_done_callback(lambda _: self._dialling.pop(address, None))
        try:
            return await asyncio.shield(attempt)
        except (OSError, TimeoutError) as error:
            reason = f"cannot connect: {error or 'timed out'}"
            raise InstanceUnavailable(reason, endpoint=endpoint, instance=instance_id) from error

    async def _connect(self, address: Address) -> CallingConnection:
        loop = asyncio.get_running_loop()

        def make() -> CallingConnection:
            return CallingConnection(self.limits, lambda connection: self._forget(address, connection))

        failure: OSError | None = None
        async with asyncio.timeout(self.limits.connect_timeout):
            if address.unix and address.host_id == host_id():
                try:
                    _, connection = await loop.create_unix_connection(make, address.unix)
                    return self._keep(address, connection)
                except OSError as error:
                    failure = error
            if address.tcp:
                host, _, port = address.tcp.rpartition(":")
                transport, connection = await loop.create_connection(make, host.strip("[]"), int(port))
                transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self._keep(address, connection)
        raise failure or ConnectionError("it offers no address that this host can use")

    def _keep(self, address: Address, connection: CallingConnection) -> CallingConnection:
        self._calling[address] = connection
        self._keep_alive()
        return connection

    def _forget(self, address: Address, connection: CallingConnection) -> None:
        if self._calling.get(address) is connection:
            del self._calling[address]

    def _keep_alive(self) -> None:
        if self._ticker is None and not self._closed:
            interval = self.limits.silence / 4
            self._ticker = asyncio.get_running_loop().call_later(interval, self._tick, interval)

    def _tick(self, interval: float) -> None:
        self._ticker = None
        connections = [*self._calling.values(), *self._serving]
        for connection in connections:
            connection.tick(interval)
        if connections:
            self._keep_alive()
