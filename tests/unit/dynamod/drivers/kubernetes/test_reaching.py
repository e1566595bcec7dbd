"""What a pod tells of itself ends up in our own discovery store, with addresses that work from here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dynamo.runtime import keys
from dynamo.runtime.discovery.store import Store
from dynamo.runtime.host import host_id
from dynamo.runtime.status import Address, Instance, ReplicaStatus, decode_instance, encode
from dynamod.drivers.kubernetes.reaching import Mode, Reach, Reachable
from dynamod.schema import locations

SCOPE = "default/demo"
POD = "demo-worker-1"
FEED = keys.instance_key(SCOPE, "dynamo", "router", "kv_feed", 7)
OWN = keys.replica_key(SCOPE, POD)


class LoopbackStreams:
    """In the place of the API server: a forwarded port ends at our own loopback, in the framing of Kubernetes."""

    @asynccontextmanager
    async def forward(self, pod: str, port: int) -> AsyncIterator[_Socket]:
        assert pod == POD
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield _Socket(reader, writer, port)
        finally:
            writer.close()


class _Socket:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self._reader, self._writer = reader, writer
        self._first = [bytes((channel,)) + port.to_bytes(2, "little") for channel in (0, 1)]

    async def send_bytes(self, message: bytes) -> None:
        assert message[0] == 0
        self._writer.write(message[1:])
        await self._writer.drain()

    async def receive_bytes(self) -> bytes:
        if self._first:
            return self._first.pop(0)
        data = await self._reader.read(1000)
        if not data:
            raise ConnectionResetError("the server closed the websocket")
        return b"\0" + data


@asynccontextmanager
async def pod(told: dict[str, str]) -> AsyncIterator[int]:
    """A system app; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + json.dumps(told).encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def told(name: str = POD, port: int = 4000) -> dict[str, str]:
    address = Address(host_id="pod", unix="/tmp/x", tcp=f"10.0.0.1:{port}")
    status = ReplicaStatus(
        replica_id=name,
        service="Router",
        pid=1,
        host="pod",
        state="ready",
        address=address,
        http="http://10.0.0.1:8000",
    )
    feed = Instance(instance_id=7, namespace="dynamo", component="router", endpoint="kv_feed", address=address)
    return {keys.replica_key(SCOPE, name): encode(status).decode(), FEED: encode(feed).decode()}


@asynccontextmanager
async def reached(where: Path, port: int, mode: Mode, streams: Any = None) -> AsyncIterator[tuple[Store, Reach]]:
    store, news = Store(), asyncio.Event()
    places = locations(where)
    places.run_dir.mkdir(parents=True)
    reach = Reach(streams, places, store, SCOPE, mode, news.set)
    reach.follow({POD: Reachable(POD, "uid", "127.0.0.1", port, 8000)})
    try:
        async with asyncio.timeout(20):
            await news.wait()
        yield store, reach
    finally:
        await reach.close()
    assert store.get_prefix("/").items == ()


@pytest.mark.parametrize("mode", ["auto", "direct"])
async def test_a_pod_that_can_be_dialled_is_taken_at_its_word(tmp_path: Path, mode: Mode) -> None:
    async with pod(told()) as port, reached(tmp_path, port, mode) as (store, reach):
        found = store.get(FEED)
        assert found is not None
        assert found.value.decode() == told()[FEED]
        assert reach.address(POD) == "http://10.0.0.1:8000"


async def test_another_pod_gets_tunnels(tmp_path: Path) -> None:
    async with (
        pod(told()) as port,
        reached(tmp_path, port, "tunnel", LoopbackStreams()) as (store, reach),
    ):
        found = store.get(FEED)
        assert found is not None
        address = decode_instance(found.value).address
        assert (address.host_id, address.tcp) == (host_id(), "")
        assert Path(address.unix).is_socket()
        own = reach.address(POD)
        assert own is not None
        assert own.startswith("http://127.0.0.1:")


async def test_a_stranger_at_the_address_of_a_pod_is_not_believed(tmp_path: Path) -> None:
    """The networks of two clusters may overlap: what answers there is asked who it is."""
    async with pod(told("somebody-else")) as port:
        reach = Reach(LoopbackStreams(), locations(tmp_path), Store(), SCOPE, "auto", lambda: None)  # type: ignore[arg-type]
        locations(tmp_path).run_dir.mkdir(parents=True)
        reach.follow({POD: Reachable(POD, "uid", "127.0.0.1", port, None)})
        await asyncio.sleep(0.3)
        assert reach.status(POD) is None
        await reach.close()
