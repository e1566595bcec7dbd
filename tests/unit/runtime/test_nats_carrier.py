"""A byte stream over messages that may be lost, late or foreign: a hole is never silent."""

from __future__ import annotations

import asyncio
import time

import pytest

from dynamo.runtime.transport import nats_carrier as carrier
from dynamo.runtime.transport.nats_carrier import CarrierError, NatsCarrier


class Client:
    """What a carrier uses of a NATS client; what it publishes is kept."""

    max_payload = 1024
    is_connected = True

    def __init__(self) -> None:
        self.published: list[bytes] = []

    async def publish(self, _subject: str, message: bytes) -> None:
        self.published.append(message)


class Reader:
    """What a carrier uses of a connection."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._buffer = bytearray(16)

    def get_buffer(self, _hint: int) -> memoryview:
        return memoryview(self._buffer)

    def buffer_updated(self, count: int) -> None:
        self.data += bytes(self._buffer[:count])

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


def opened() -> tuple[NatsCarrier, Reader, Client]:
    client, reader = Client(), Reader()
    return NatsCarrier(client, b"c" * 16, "peer", reader, lambda _: None), reader, client  # type: ignore[arg-type]


async def ended(reader: Reader, one: NatsCarrier) -> Exception | None:
    async with asyncio.timeout(5):
        error = await reader.lost
        await one.finished()
    return error


async def test_bytes_arrive_in_order_and_large_writes_in_pieces() -> None:
    one, reader, client = opened()
    one.received(0, time.time(), memoryview(b"a" * 40))
    one.received(1, time.time(), memoryview(b"b"))
    assert reader.data == b"a" * 40 + b"b"
    one.write(b"x" * 3000)
    one.close()
    assert await ended(reader, one) is None
    sent = [carrier.unpack(message) for message in client.published]
    data_then_close = [carrier.DATA] * 4 + [carrier.CLOSE]
    assert [(kind, number) for kind, _, number, _, _ in sent] == [(k, n) for n, k in enumerate(data_then_close)]
    assert b"".join(bytes(data) for _, _, _, _, data in sent) == b"x" * 3000
    assert all(len(message) <= Client.max_payload for message in client.published)


async def test_a_lost_message_ends_it_and_the_other_side_is_told() -> None:
    one, reader, client = opened()
    one.received(0, time.time(), memoryview(b"a"))
    one.received(3, time.time(), memoryview(b"d"))
    error = await ended(reader, one)
    assert isinstance(error, CarrierError)
    assert "NATS lost 2 messages" in str(error)
    assert reader.data == b"a"
    assert carrier.unpack(client.published[-1])[0] == carrier.CLOSE


async def test_a_message_that_was_held_back_ends_it_whatever_the_clocks_say() -> None:
    one, reader, _ = opened()
    skew = 3600.0  # the sender's clock is an hour behind
    one.received(0, time.time() - skew, memoryview(b"a"))
    one.received(1, time.time() - skew - carrier.MAX_LATE - 1, memoryview(b"b"))
    error = await ended(reader, one)
    assert isinstance(error, CarrierError)
    assert "held a message back" in str(error)
    assert reader.data == b"a"


async def test_nothing_is_published_into_a_broken_connection() -> None:
    one, reader, client = opened()
    client.is_connected = False
    one.write(b"x")
    error = await ended(reader, one)
    assert isinstance(error, CarrierError)
    assert client.published == []


def test_a_message_without_a_header_is_refused() -> None:
    with pytest.raises(CarrierError, match="5 bytes"):
        carrier.unpack(b"short")
