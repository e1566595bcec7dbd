"""Byte streams over NATS: what lets the stream protocol run where peers cannot dial each other.

A carrier is an `asyncio.Transport` whose bytes travel as messages between two processes' subjects. NATS
may drop messages (a slow consumer), deliver them late (what was published while disconnected is buffered)
and says nothing when the other end is gone. So every message carries a number and the time it was sent: a
hole in the numbers, or one that is late by more than `MAX_LATE`, ends the carrier, and with it every call
on it, with an error. Liveness is the business of the protocol above, which pings.

Message: kind (1 byte), connection id (16 bytes), number (u64), time sent (f64, epoch seconds), bytes.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from dynamo.runtime.transport.connection import Connection

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient

OPEN: Final = 1
ACCEPT: Final = 2
DATA: Final = 3
CLOSE: Final = 4

MAX_LATE: Final = 5.0
"""Seconds by which a message may be slower than the fastest one before it; more means that it was held back."""

_HEAD = struct.Struct(">B16sQd")
HEAD_BYTES: Final = _HEAD.size


class CarrierError(ConnectionError):
    """Messages were lost, late, or cannot be sent: the byte stream has a hole."""


def pack(kind: int, connection: bytes, number: int, data: bytes | memoryview = b"") -> bytes:
    return _HEAD.pack(kind, connection, number, time.time()) + data


def unpack(message: bytes) -> tuple[int, bytes, int, float, memoryview]:
    """Kind, connection id, number, time sent, bytes.

    Raises:
        CarrierError: shorter than a header.
    """
    if len(message) < HEAD_BYTES:
        raise CarrierError(f"a message of {len(message)} bytes has no header")
    kind, connection, number, sent = _HEAD.unpack_from(message)
    return kind, connection, number, sent, memoryview(message)[HEAD_BYTES:]


class NatsCarrier(asyncio.Transport):
    """One end of one byte stream. `peer` is the subject that the other end listens on."""

    def __init__(
        self,
        client: NatsClient,
        connection: bytes,
        peer: str,
        protocol: Connection,
        on_closed: Callable[[bytes], None],
    ) -> None:
        super().__init__()
        self._client = client
        self._connection = connection
        self._peer = peer
        self._protocol = protocol
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._chunk = client.max_payload - HEAD_BYTES
        self._out: deque[bytes | memoryview] = deque()
        self._out_bytes = 0
        self._high, self._low = 1 << 20, 256 << 10
        self._paused = False
        self._closing = self._ended = False
        self._sent = self._received = 0
        self._fastest: float | None = None
        self._wake = asyncio.Event()
        self._writer = self._loop.create_task(self._write_all(), name=f"nats-carrier-{connection.hex()[:8]}")

    # -- what the protocol calls

    def write(self, data: Any) -> None:
        if self._closing or not data:
            return
        view = memoryview(data)
        for start in range(0, len(view), self._chunk):
            self._out.append(view[start : start + self._chunk])
        self._out_bytes += len(view)
        self._wake.set()
        if self._out_bytes > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 1 << 20 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return self._out_bytes

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._peer if name == "peername" else default

    def pause_reading(self) -> None:
        """Nothing to pause: NATS pushes, and each message is decoded as it comes."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def close(self) -> None:
        """Send what is written, tell the other end, then end."""
        self._closing = True
        self._wake.set()

    def abort(self) -> None:
        self._end(None)

    # -- what arrives

    def received(self, number: int, sent: float, data: memoryview) -> None:
        """One DATA message. A hole in the numbers or a late message ends the carrier."""
        delay = time.time() - sent
        self._fastest = delay if self._fastest is None else min(self._fastest, delay)
        if number != self._received:
            self._end(CarrierError(f"NATS lost {number - self._received} messages of this connection"))
        elif delay - self._fastest > MAX_LATE:  # relative to the fastest: the clocks of two hosts may differ
            self._end(CarrierError(f"NATS held a message back for {delay - self._fastest:.1f} s"))
        else:
            self._received += 1
            self._feed(data)

    def peer_closed(self) -> None:
        self._end(None)

    def broken(self, reason: str) -> None:
        """The client lost NATS, or nobody listens at the other end."""
        self._end(CarrierError(reason))

    def _feed(self, data: memoryview) -> None:
        while data and not self._closing:
            buffer = self._protocol.get_buffer(len(data))
            count = min(len(buffer), len(data))
            buffer[:count] = data[:count]
            self._protocol.buffer_updated(count)
            data = data[count:]

    # -- sending

    async def _write_all(self) -> None:
        try:
            while True:
                while self._out:
                    chunk = self._out.popleft()
                    self._out_bytes -= len(chunk)
                    await self._publish(DATA, chunk)
                    if self._paused and self._out_bytes <= self._low:
                        self._paused = False
                        self._protocol.resume_writing()
                if self._closing:
                    await self._publish(CLOSE)
                    break
                self._wake.clear()
                await self._wake.wait()
        except Exception as error:  # whatever the client raises, the stream has a hole now
            self._end(CarrierError(f"cannot publish to NATS: {error or type(error).__name__}"))
        else:
            self._end(None)

    async def _publish(self, kind: int, data: bytes | memoryview = b"") -> None:
        if not self._client.is_connected:
            # A publish would be buffered and delivered after its caller has given up.
            raise CarrierError("not connected")
        await self._client.publish(self._peer, pack(kind, self._connection, self._sent, data))
        self._sent += 1

    def _end(self, error: Exception | None) -> None:
        """Forget what is unsent and tell the protocol; the writer still tells the other end."""
        if self._ended:
            return
        self._ended = self._closing = True
        self._out.clear()
        self._wake.set()
        self._on_closed(self._connection)
        self._loop.call_soon(self._protocol.connection_lost, error)

    async def finished(self) -> None:
        """Returns when the other end has been told that this one is closed."""
        await asyncio.wait({self._writer})
