from __future__ import annotations

import asyncio

from dynamo.runtime.events import SnapshotPublisher, SnapshotSubscriber
from tests.integration.runtime.conftest import Place


async def test_messages_of_every_publisher_reach_every_subscriber_in_order(place: Place) -> None:
    first, second, reader = await place.runtime(), await place.runtime(), await place.runtime()
    one = await first.namespace("ns").publisher("topic/a")
    subscription = await reader.namespace("ns").subscribe("topic/a")
    other = await reader.namespace("ns").subscribe("other")
    for number in range(3):
        one.publish({"from": 1, "n": number})
    received = [await anext(items) for items in [aiter(subscription)] for _ in range(3)]
    assert received == [{"from": 1, "n": n} for n in range(3)]
    two = await second.namespace("ns").publisher("topic/a")
    async with asyncio.timeout(5):
        while not two.subscribers:
            await asyncio.sleep(0.01)
    two.publish("from two")
    assert await anext(aiter(subscription)) == "from two"
    assert subscription.missed == 0
    await other.close()
    await subscription.close()
    async with asyncio.timeout(5):
        while one.subscribers:
            await asyncio.sleep(0.01)


async def test_a_slow_subscriber_is_told_how_much_it_missed(place: Place) -> None:
    sender, reader = await place.runtime(), await place.runtime()
    publisher = await sender.namespace("ns").publisher("busy")
    subscription = await reader.namespace("ns").subscribe("busy")
    total = 30_000
    for number in range(total):
        publisher.publish(number)
    last = -1
    seen = 0
    async for number in subscription:
        assert number > last
        last = number
        seen += 1
        if last == total - 1:
            break
    assert seen < total
    assert subscription.missed == total - seen


async def test_mirrors_stay_equal_and_survive_falling_behind(place: Place) -> None:
    sender, reader = await place.runtime(), await place.runtime()
    state: dict[str, int] = {"a": 1}
    publisher = SnapshotPublisher(lambda: dict(state), backlog=100)
    endpoint = sender.namespace("ns").component("w").endpoint("state")
    await publisher.serve(endpoint)

    def change(key: str, value: int) -> None:
        state[key] = value
        publisher.publish([key, value])

    subscriber = SnapshotSubscriber(reader.namespace("ns").component("w").endpoint("state"))
    mirror: dict[str, int] = {}
    snapshots = 0
    events = aiter(subscriber)
    event = await anext(events)
    assert (event.kind, event.body) == ("snapshot", {"a": 1})
    mirror = dict(event.body)
    for number in range(5000):  # far beyond the backlog, without giving the reader a turn
        change(f"k{number % 50}", number)
    change("end", 1)
    async with asyncio.timeout(10):
        while mirror.get("end") != 1:
            event = await anext(events)
            if event.kind == "snapshot":
                snapshots += 1
                mirror = dict(event.body)
            else:
                key, value = event.body
                mirror[key] = value
    assert mirror == state
    assert snapshots >= 1
    await sender.shutdown()
    async with asyncio.timeout(10):
        while event.kind != "gone":
            event = await anext(events)
    assert event.instance_id


async def test_system_targets_answer_without_registration(place: Place) -> None:
    server, caller = await place.runtime(), await place.runtime()
    address = await server.plane.listen()
    peer = caller.peer(address)
    pong = await (await peer.call("_system/ping", "hi", timeout=5)).one()
    assert pong["echo"] == "hi"
    gauge = server.metrics.gauge("test_level", "A test.", ["side"]).labels("left")
    gauge.set(1)
    async with await peer.call("_system/metrics", {"interval": 0.05}) as stream:
        full = await anext(stream)
        assert full["full"]
        names = {sample[0] for sample in full["samples"]}
        assert {"process_resident_memory_bytes", "process_open_fds", "test_level"} <= names
        gauge.set(2)
        async with asyncio.timeout(5):
            while True:
                update = await anext(stream)
                assert not update["full"]
                if ["test_level", {"side": "left"}, 2.0, "gauge"] in update["samples"]:
                    break
