"""The request plane over a real NATS server that is killed and stopped under it."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from dynamo.runtime import DistributedRuntime
from dynamo.runtime.component import Component
from dynamo.runtime.errors import EndpointError, InstanceLost, InstanceUnavailable, RequestError
from dynamo.runtime.events import SnapshotPublisher, SnapshotSubscriber
from dynamo.runtime.settings import Settings
from dynamo.runtime.transport.connection import Limits
from dynamo.runtime.transport.nats_carrier import CarrierError, unpack
from tests.integration.runtime.conftest import Place, Process
from tests.servers import NatsServer

LIMITS = Limits(silence=2.0, connect_timeout=3.0)


class NatsPlace:
    def __init__(self, place: Place, nats: NatsServer) -> None:
        self.place = place
        self.nats = nats

    async def worker(self) -> Process:
        return await self.place.worker(
            DYN_REQUEST_PLANE="nats", NATS_SERVER=self.nats.url, DYN_PEER_SILENCE=str(LIMITS.silence)
        )

    async def runtime(self) -> DistributedRuntime:
        runtime = await DistributedRuntime.connect(
            self.place.url,
            scope="p/g",
            request_plane="nats",
            settings=Settings(nats_server=self.nats.url, limits=LIMITS),
        )
        self.place.stack.push_async_callback(runtime.shutdown)
        return runtime

    async def component(self) -> Component:
        return (await self.runtime()).namespace("ns").component("worker")


@pytest.fixture
async def over_nats(place: Place, nats: NatsServer) -> NatsPlace:
    return NatsPlace(place, nats)


async def test_unary_streams_and_errors(over_nats: NatsPlace) -> None:
    worker = await over_nats.worker()
    component = await over_nats.component()
    assert await (await component.endpoint("pid").client().generate(None)).one() == worker.pid
    count = component.endpoint("count").client()
    streams = [await count.generate(500) for _ in range(8)]
    for stream in streams:
        assert [item async for item in stream] == list(range(500))
    with pytest.raises(EndpointError, match="KeyError"):
        await (await component.endpoint("fail").client().generate("no")).one()


async def test_a_payload_larger_than_a_nats_message(over_nats: NatsPlace) -> None:
    await over_nats.worker()
    echo = (await over_nats.component()).endpoint("echo").client()
    payload = os.urandom(3 << 20)
    assert await (await echo.generate(payload)).one() == payload


async def test_a_slow_reader_stops_its_producer(over_nats: NatsPlace) -> None:
    await over_nats.worker()
    component = await over_nats.component()
    flood = await component.endpoint("flood").client().generate(10)
    assert await anext(aiter(flood)) == "x" * 10
    state = component.endpoint("state").client()
    produced = -1
    async with asyncio.timeout(20):
        while (now := (await (await state.generate(None)).one())["produced"]) != produced:
            produced = now
            await asyncio.sleep(0.2)
    assert 0 < produced < 2000
    flood.cancel()
    async with asyncio.timeout(20):
        while not (await (await state.generate(None)).one())["stopped"]:
            await asyncio.sleep(0.02)


async def test_a_killed_worker_ends_its_streams(over_nats: NatsPlace) -> None:
    worker = await over_nats.worker()
    ticks = await (await over_nats.component()).endpoint("ticks").client().generate(0.01)
    assert await anext(aiter(ticks)) == 0
    worker.signal(signal.SIGKILL)
    with pytest.raises(InstanceLost):
        async with asyncio.timeout(20):
            async for _ in ticks:
                pass


async def test_streams_end_when_nats_dies_and_calls_work_when_it_is_back(over_nats: NatsPlace) -> None:
    worker = await over_nats.worker()
    component = await over_nats.component()
    ticks = await component.endpoint("ticks").client().generate(0.01)
    assert await anext(aiter(ticks)) == 0
    over_nats.nats.kill()
    with pytest.raises(InstanceLost, match="NATS"):
        async with asyncio.timeout(20):
            async for _ in ticks:
                pass
    pid = component.endpoint("pid").client()
    with pytest.raises(InstanceUnavailable, match="NATS"):
        await (await pid.generate(None)).one()
    over_nats.nats.start()
    async with asyncio.timeout(30):
        while True:
            try:
                assert await (await pid.generate(None)).one() == worker.pid
                break
            except RequestError:
                await asyncio.sleep(0.05)


async def test_a_stopped_nats_server_is_noticed(over_nats: NatsPlace) -> None:
    await over_nats.worker()
    ticks = await (await over_nats.component()).endpoint("ticks").client().generate(0.01)
    assert await anext(aiter(ticks)) == 0
    over_nats.nats.signal(signal.SIGSTOP)
    with pytest.raises(InstanceLost):
        async with asyncio.timeout(30):
            async for _ in ticks:
                pass
    over_nats.nats.signal(signal.SIGCONT)


async def test_events_and_mirrors_go_over_nats_and_survive_its_restart(over_nats: NatsPlace) -> None:
    sender, reader = await over_nats.runtime(), await over_nats.runtime()
    topic = await sender.namespace("ns").publisher("topic")
    subscription = await reader.namespace("ns").subscribe("topic")
    topic.publish({"n": 1})
    async with asyncio.timeout(20):
        assert await anext(aiter(subscription)) == {"n": 1}

    state = {"a": 1}
    publisher = SnapshotPublisher(lambda: dict(state))
    await publisher.serve(sender.namespace("ns").component("worker").endpoint("state"))
    mirror = SnapshotSubscriber(reader.namespace("ns").component("worker").endpoint("state"))
    events = aiter(mirror)

    async def until(value: int) -> None:
        """A snapshot or a delta that says so: which of the two depends on when the reader came."""
        async with asyncio.timeout(40):
            while (await anext(events)).body not in ({"a": value}, ["a", value]):
                pass

    await until(1)
    state["a"] = 2
    publisher.publish(["a", 2])
    await until(2)
    over_nats.nats.kill()
    state["a"] = 3
    publisher.publish(["a", 3])  # nobody can hear it: the snapshot after the outage must carry it
    over_nats.nats.start()
    await until(3)
    await mirror.close()


def test_a_message_without_a_header_is_refused() -> None:
    with pytest.raises(CarrierError, match="3 bytes"):
        unpack(b"abc")
