"""One connection of the stream transport, the part that both ends share: frames, coalesced writes, keep-alive."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from typing import Any, cast

import msgspec

from dynamo.runtime.errors import FrameTooLarge
from dynamo.runtime.transport import frames
from dynamo.runtime.transport.codec import encoder

logger = logging.getLogger(__name__)

_HIGH_WATER = 1 << 20
_LOW_WATER = 256 << 10
_UNIX_SEND_BUFFER = 2 << 20
"""Bytes that a Unix socket holds for its reader (the kernel caps it at net.core.wmem_max). The default of 208 KiB
makes both sides wake five times for each MiB; with this, 1 MiB echoes are twice as fast."""
_BIG_READ = 256 << 10
_encode_into = encoder.encode_into
_PING = frames.KEYS[frames.PING]
_PONG = frames.KEYS[frames.PONG]
_HELLO = frames.KEYS[frames.HELLO]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a connection. Sizes in bytes, times in seconds.

    A peer from which nothing was heard for `silence` is taken for dead; it is pinged in between.
    """

    max_frame: int = frames.MAX_FRAME
    max_streams: int = frames.MAX_STREAMS
    silence: float = 10.0
    connect_timeout: float = 5.0


class Connection(asyncio.BufferedProtocol):
    """Reads frames and hands their pairs to `_pair`; collects pairs and writes them once per loop turn."""

    def __init__(self, limits: Limits, connection_id: str = "") -> None:
        self.id = connection_id
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.closed = False
        self.writable = True
        self.out = bytearray(frames.PREFIX)
        self.pairs = 0
        self.scheduled = False
        self.max_send = limits.max_frame
        self.received = 0
        self._heard = True
        self._silent_ticks = 0
        self._greeted = False
        self._reader = frames.FrameReader(limits.max_frame)
        self._transport: asyncio.Transport | None = None
        self._writers: list[asyncio.Future[None]] = []
        self._gone = self.loop.create_future()

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its bases
        self._transport.set_write_buffer_limits(_HIGH_WATER, _LOW_WATER)
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNIX_SEND_BUFFER)
        hello = {"version": frames.VERSION, "connection": self.id, "max_frame": self.limits.max_frame}
        self.push(_HELLO, hello)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._heard = True
        self.received += nbytes
        try:
            for pairs in self._reader.received(nbytes):
                self._frame(pairs)
        except frames.ProtocolError as error:
            logger.warning("closing connection %s: %s", self.id or "(unnamed)", error)
            self.abort()

        if nbytes > _BIG_READ and not self.closed and self._transport is not None:
            # Let the handler of a big message run before the next one is read: both ends then work at the
            # same time, on data that is still in the cache.
            self._transport.pause_reading()
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self.closed and self._transport is not None:
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._release_writers()
        self._lost(f"connection lost: {exc}" if exc else "connection closed")
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._release_writers()

    # -- writing

    def push(self, key: bytes, body: Any) -> int:
        """Add one pair to the frame of this loop turn; the encoded size of `body`.

        Raises what the encoder raises, or `FrameTooLarge`, with the frame as it was before.
        """
        out = self.out
        start = len(out)
        out += key
        middle = len(out)
        try:
            _encode_into(body, out, -1)
        except BaseException:
            del out[start:]
            raise
        size = len(out) - middle
        if len(out) > frames.FLUSH_BYTES:
            self._added_big(start, size)
            return size
        self.pairs += 1
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.flush)
        return size

    def _added_big(self, start: int, size: int) -> None:
        """Account for a pair at `start`, of `size` bytes, that fills the frame: write now instead of later.

        What was collected before goes along if it fits, else in a frame of its own. Raises `FrameTooLarge`.
        """
        out = self.out
        if size + 32 > self.max_send:
            del out[start:]
            raise FrameTooLarge(f"a message of {size} bytes is over the limit of {self.max_send}")
        if len(out) > self.max_send:
            tail = out[start:]
            del out[start:]
            self._write()
            self.out += tail
        self.pairs += 1
        self._write()

    def flush(self) -> None:
        """Write what this loop turn collected."""
        self.scheduled = False
        self._write()

    def _write(self) -> None:
        if not self.pairs:
            return
        out = self.out
        frames.seal(out, self.pairs)
        self.out = bytearray(frames.PREFIX)
        self.pairs = 0
        if self._transport is not None and not self.closed:
            self._transport.write(out)

    async def until_writable(self) -> None:
        """Returns when the peer has read enough of what was written, or the connection is closed."""
        while not self.writable and not self.closed:
            waiter = self.loop.create_future()
            self._writers.append(waiter)
            await waiter

    def _release_writers(self) -> None:
        waiting, self._writers = self._writers, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    # -- life

    def tick(self, tick: float) -> None:
        """Called every `tick` seconds: ping a silent peer, drop it when it stays silent."""
        if self._heard:
            self._heard = False
            self._silent_ticks = 0
            return
        self._silent_ticks += 1
        if self._silent_ticks * tick >= self.limits.silence:
            logger.warning("connection %s: nothing heard for %.1f s, closing", self.id, self._silent_ticks * tick)
            self.abort()
        elif not self.closed:
            self.push(_PING, self._silent_ticks)

    def abort(self) -> None:
        """Close at once; calls on this connection end with an error."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Write what is collected, then close."""
        if self._transport is not None and not self.closed:
            self._write()
            self._transport.close()

    async def wait_closed(self) -> None:
        await asyncio.shield(self._gone)

    # -- what arrives

    def _frame(self, pairs: list[Any]) -> None:
        raise NotImplementedError

    def _lost(self, reason: str, /) -> None:
        """The connection is gone: end everything that depends on it."""
        raise NotImplementedError

    def _common(self, op: int, body: Any) -> None:
        """The operations that both ends understand."""
        if op == frames.PING:
            self.push(_PONG, body)
        elif op == frames.HELLO:
            self._hello(body)
        elif op != frames.PONG:
            raise frames.ProtocolError(f"operation {op} is unknown or not allowed here")

    def _hello(self, body: Any) -> None:
        try:
            version, connection, max_frame = body["version"], body["connection"], body["max_frame"]
            self.max_send = min(self.limits.max_frame, int(max_frame))
        except (TypeError, KeyError, ValueError) as error:
            raise frames.ProtocolError(f"a greeting of the wrong shape: {error!r}") from error
        if version != frames.VERSION:
            raise frames.ProtocolError(f"the peer speaks protocol version {version!r}, this side {frames.VERSION}")
        self._greeted = True
        if connection and not self.id:
            self.id = str(connection)


def new_connection_id() -> str:
    return secrets.token_hex(4)
