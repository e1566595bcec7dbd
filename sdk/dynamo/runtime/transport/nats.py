"""The request plane over NATS: the stream protocol, carried by a broker that both sides can reach.

Everything above the bytes (multiplexing, credit, cancellation, deadlines, errors, drain, keep-alive) is the
stream plane's; only dialling and listening differ. Each process listens on one subject of its own.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dynamo.runtime.errors import ConfigurationError, PlaneUnreachable
from dynamo.runtime.status import Address
from dynamo.runtime.transport import nats_carrier as carrier
from dynamo.runtime.transport.calling import CallingConnection
from dynamo.runtime.transport.connection import Limits
from dynamo.runtime.transport.nats_carrier import CarrierError, NatsCarrier
from dynamo.runtime.transport.stream import StreamPlane

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient
    from nats.aio.msg import Msg

logger = logging.getLogger(__name__)

Disconnected = Callable[[], Awaitable[None]]

PING_INTERVAL = 2.0
"""Seconds between pings of the server; a stopped one is noticed after two unanswered."""


async def report(error: Exception) -> None:
    """What nats-py tells between calls: one line, where its default prints a traceback."""
    logger.warning("NATS: %s", str(error) or type(error).__name__)


async def connect(servers: str, *, timeout: float, on_disconnect: Disconnected | None = None) -> NatsClient:
    """A client that reconnects for ever.

    Args:
        servers: `nats://host:port[,nats://host:port…]`.
        timeout: seconds to wait for the first connection.

    Raises:
        ConfigurationError: the extra is not installed.
        PlaneUnreachable: no server answers.
    """
    try:
        import nats
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"NATS needs the extra dynamod[nats] ({error})") from error
    addresses = [part if "://" in part else f"nats://{part}" for part in servers.split(",") if part.strip()]
    try:
        async with asyncio.timeout(timeout):
            return await nats.connect(
                addresses,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,
                connect_timeout=2,
                ping_interval=PING_INTERVAL,
                max_outstanding_pings=2,
                error_cb=report,
                disconnected_cb=on_disconnect,
            )
    except Exception as error:  # nats-py raises OSError, its own tree, and asyncio's time-outs alike
        reason = str(error) or type(error).__name__
        raise PlaneUnreachable(f"NATS at {servers} cannot be reached: {reason}; is NATS_SERVER right?") from error


async def close(client: NatsClient) -> None:
    """Close a client. After a reconnect nats-py's own close may end in a cancellation of its making: kept from ours."""
    closing = asyncio.ensure_future(client.close())
    await asyncio.wait({closing}, timeout=2.0)
    if closing.done() and not closing.cancelled() and (error := closing.exception()) is not None:
        logger.warning("closing the NATS client: %s", error or type(error).__name__)


class NatsPlane(StreamPlane):
    """`RequestPlane` over a NATS server or cluster.

    `servers`: as in NATS_SERVER. Calls fail with `InstanceUnavailable` while NATS is away, and those under
    way with `InstanceLost` when it goes; later calls dial anew.
    """

    def __init__(self, servers: str, *, limits: Limits | None = None) -> None:
        super().__init__(Path(), limits=limits)  # no Unix socket is made: `_listen` is replaced
        self._server_list = servers
        self._subject = f"dynamo.p.{secrets.token_hex(8)}"
        self._client: NatsClient | None = None
        self._connecting = asyncio.Lock()
        self._carriers: dict[bytes, NatsCarrier] = {}
        self._accepting: dict[bytes, tuple[asyncio.Future[CallingConnection], Address]] = {}

    @classmethod
    async def connect(cls, servers: str, *, limits: Limits) -> NatsPlane:
        """A plane whose server is known to answer. Raises `PlaneUnreachable` otherwise."""
        plane = cls(servers, limits=limits)
        await plane._connected()
        return plane

    async def _listen(self) -> None:
        await self._connected()
        self._address = Address(nats=self._subject)

    async def _connected(self) -> NatsClient:
        async with self._connecting:
            if self._client is None:
                client = await connect(
                    self._server_list, timeout=self.limits.connect_timeout, on_disconnect=self._disconnected
                )
                await client.subscribe(f"{self._subject}.>", cb=self._message)
                self._client = client
        return self._client

    async def _connect(self, address: Address) -> CallingConnection:
        if not address.nats:
            raise ConnectionError("it does not listen on NATS: both sides need DYN_REQUEST_PLANE=nats")
        client = await self._connected()
        if not client.is_connected:
            raise ConnectionError("NATS is not connected")
        connection = secrets.token_bytes(16)
        accepted: asyncio.Future[CallingConnection] = asyncio.get_running_loop().create_future()
        self._accepting[connection] = (accepted, address)
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                # With a reply subject the server itself says when nobody listens (status 503).
                await client.publish(
                    f"{address.nats}.open",
                    carrier.pack(carrier.OPEN, connection, 0, self._subject.encode()),
                    reply=f"{self._subject}.{connection.hex()}",
                )
                return await accepted
        finally:
            del self._accepting[connection]

    # -- what arrives

    async def _message(self, message: Msg) -> None:
        if message.headers and message.headers.get("Status") == "503":
            self._nobody(message.subject)
            return
        try:
            kind, connection, number, sent, data = carrier.unpack(message.data)
            known = self._carriers.get(connection)
            if kind == carrier.OPEN:
                await self._open(connection, bytes(data).decode())
            elif kind == carrier.ACCEPT:
                self._accepted(connection)
            elif known is not None and kind == carrier.DATA:
                known.received(number, sent, data)
            elif known is not None and kind == carrier.CLOSE:
                known.peer_closed()
        except (CarrierError, UnicodeDecodeError) as error:
            logger.warning("ignoring a NATS message that is not ours: %s", error)

    def _nobody(self, subject: str) -> None:
        with suppress(ValueError):
            waiting = self._accepting.get(bytes.fromhex(subject.rpartition(".")[2]))
            if waiting is not None and not waiting[0].done():
                waiting[0].set_exception(ConnectionError("nobody listens on its NATS subject"))

    async def _open(self, connection: bytes, peer: str) -> None:
        client = self._client
        if client is None or self._closed or connection in self._carriers:
            return
        await client.publish(f"{peer}.accept", carrier.pack(carrier.ACCEPT, connection, 0))
        serving = self._accept()
        self._carriers[connection] = NatsCarrier(client, connection, f"{peer}.data", serving, self._gone)
        serving.connection_made(self._carriers[connection])

    def _accepted(self, connection: bytes) -> None:
        waiting = self._accepting.get(connection)
        if waiting is None or waiting[0].done() or self._client is None:
            return
        accepted, address = waiting
        calling = CallingConnection(self.limits, lambda ended: self._forget(address, ended))
        self._carriers[connection] = NatsCarrier(self._client, connection, f"{address.nats}.data", calling, self._gone)
        calling.connection_made(self._carriers[connection])
        accepted.set_result(self._keep(address, calling))

    def _gone(self, connection: bytes) -> None:
        self._carriers.pop(connection, None)

    async def _disconnected(self) -> None:
        if not self._closed:
            logger.warning("the connection to NATS at %s is lost; reconnecting", self._server_list)
        for lost in list(self._carriers.values()):
            lost.broken("the connection to NATS is lost")

    async def close(self) -> None:
        ending = list(self._carriers.values())
        await super().close()
        if ending:
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await asyncio.gather(*(one.finished() for one in ending))
        if self._client is not None:
            await close(self._client)
