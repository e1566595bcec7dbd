"""Hostile and broken peers: the connection that misbehaves is closed, everything else goes on, nothing leaks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamo.runtime.errors import InstanceLost, RequestError
from dynamo.runtime.status import Address
from dynamo.runtime.transport import frames
from dynamo.runtime.transport.base import Handler
from dynamo.runtime.transport.stream import StreamPlane

pack = msgspec.msgpack.encode
HELLO = (frames.HELLO, {"version": 1, "connection": "fuzz", "max_frame": 1 << 20})


def frame(*content: tuple[Any, Any]) -> bytes:
    out = bytearray(frames.PREFIX)
    for key, body in content:
        out += pack(key) + pack(body)
    frames.seal(out, len(content))
    return bytes(out)


async def echo(payload: Any) -> Any:
    return payload


async def endless(payload: Any) -> AsyncIterator[Any]:
    while True:
        yield payload
        await asyncio.sleep(0)


class Server:
    """A plane that serves `echo` and `endless`, and a well-behaved caller of it."""

    async def __aenter__(self) -> Server:
        self.plane = StreamPlane(self.directory)
        self.plane.add(Handler("echo", echo, wants_context=False))
        self.plane.add(Handler("endless", endless, wants_context=False))
        self.address = await self.plane.listen()
        self.caller = StreamPlane(self.directory)
        return self

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def __aexit__(self, *_: object) -> None:
        await self.caller.close()
        await self.plane.close()

    async def check(self) -> None:
        """Others are still served, and nothing of the fuzzed connections is left."""
        call = await self.caller.call(self.address, "echo", "still here")
        async with asyncio.timeout(5):
            assert await call.take() == ["still here"]
            while len(self.plane.connections) > 1:
                await asyncio.sleep(0.005)
        await self.served_to_the_end()

    async def served_to_the_end(self) -> None:
        async with asyncio.timeout(5):
            while any(connection.calls for connection in self.plane.connections):
                await asyncio.sleep(0.005)

    async def send(self, data: bytes) -> bytes:
        """Send raw bytes, close the sending side, and read whatever comes until the end."""
        reader, writer = await asyncio.open_unix_connection(self.address.unix)
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(5):
            try:
                answer = await reader.read(-1)
            except ConnectionResetError:
                answer = b""
        writer.close()
        return answer


operations = st.one_of(
    st.tuples(
        st.just(frames.REQUEST),
        st.tuples(st.integers(1, 5), st.sampled_from(["echo", "endless", "x"]), st.none(), st.none()),
    ),
    st.tuples(st.just(frames.CANCEL), st.integers(0, 6)),
    st.tuples(st.just(frames.CREDIT), st.tuples(st.integers(1, 5), st.integers(-5, 500))),
    st.tuples(st.just(frames.PING), st.integers(0, 9)),
    st.tuples(
        st.integers(-14, 3),
        st.none()
        | st.integers(-(2**63), 2**64 - 1)
        | st.text(max_size=5)
        | st.lists(st.integers(-(2**63), 2**64 - 1), max_size=3),
    ),
    st.just(HELLO),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.binary(max_size=200),
    sequence=st.lists(operations, max_size=12),
    cut=st.integers(0, 400),
    greeted=st.booleans(),
)
def test_random_truncated_and_reordered_frames(
    short_dir: Path, raw: bytes, sequence: list[Any], cut: int, greeted: bool
) -> None:
    async def attack() -> None:
        async with Server(short_dir) as server:
            good = (frame(HELLO) if greeted else b"") + b"".join(frame(operation) for operation in sequence)
            await server.send(raw)
            await server.send(good)
            await server.send(good[:cut] + raw)
            await server.check()

    asyncio.run(attack())


@pytest.mark.parametrize(
    "content",
    [
        [(frames.REQUEST, [1, "echo", None, None])],  # before the greeting
        [HELLO, (frames.REQUEST, [0, "echo", None, None])],
        [HELLO, (frames.REQUEST, [1, "endless", None, None]), (frames.REQUEST, [1, "echo", None, None])],
        [HELLO, (frames.REQUEST, [1, 5, None, None])],
        [HELLO, (frames.REQUEST, [1, "echo", None, "headers"])],
        [HELLO, (frames.REQUEST, 7)],
        [HELLO, (frames.CREDIT, "much")],
        [HELLO, (5, "an item from a caller")],
        [HELLO, (-99, None)],
        [(frames.HELLO, {"version": 2, "connection": "x", "max_frame": 1})],
        [(frames.HELLO, [])],
    ],
)
async def test_a_malformed_frame_closes_its_connection_alone(short_dir: Path, content: list[Any]) -> None:
    async with Server(short_dir) as server:
        other = await server.caller.call(server.address, "endless", "x")
        await other.take()
        reader, writer = await asyncio.open_unix_connection(server.address.unix)
        writer.write(frame(*content))
        async with asyncio.timeout(5):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(1 << 20)
        writer.close()
        for _ in range(10):
            assert await other.take()
        other.cancel()


async def test_a_server_that_talks_nonsense_fails_its_calls(short_dir: Path) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    path = short_dir / "nonsense.sock"
    server = await asyncio.start_unix_server(nonsense, str(path))
    plane = StreamPlane(short_dir)
    from dynamo.runtime.host import host_id

    call = await plane.call(Address(host_id=host_id(), unix=str(path)), "x", None)
    with pytest.raises(InstanceLost):
        await call.take()
    await plane.close()
    server.close()
    await server.wait_closed()


async def test_too_many_streams_are_refused_with_an_error(short_dir: Path) -> None:
    async with Server(short_dir) as server:
        server.plane.limits = msgspec.structs.replace(server.plane.limits, max_streams=3)
        calls = [await server.caller.call(server.address, "endless", "x") for _ in range(4)]
        with pytest.raises(RequestError, match="3 streams are open"):
            await calls[3].take()
        for call in calls[:3]:
            assert await call.take()
            call.cancel()
        await server.served_to_the_end()
        call = await server.caller.call(server.address, "echo", 1)
        assert await call.take() == [1]


async def test_finished_streams_leave_nothing_behind(short_dir: Path) -> None:
    async with Server(short_dir) as server:
        await server.check()
        gc.collect()
        before = len(gc.get_objects())
        for number in range(300):
            call = await server.caller.call(server.address, "echo", number)
            await call.take()
            stream = await server.caller.call(server.address, "endless", number)
            await stream.take()
            stream.cancel()
        del call, stream
        await server.check()
        gc.collect()
        assert len(gc.get_objects()) - before < 300
