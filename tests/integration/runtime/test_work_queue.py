"""The durable queue against a real NATS server with JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dynamo.runtime.errors import PlaneUnreachable
from dynamo.runtime.work_queue import QueueUnavailable, WorkQueue
from tests.servers import NatsServer, free_port


@pytest.fixture
async def queue(nats: NatsServer) -> AsyncIterator[WorkQueue]:
    opened = await WorkQueue.open(nats.url, "ns/prefill queue", ack_wait=1.0)
    yield opened
    await opened.close()


async def test_an_item_goes_to_one_worker_and_leaves_when_it_is_acknowledged(
    nats: NatsServer, queue: WorkQueue
) -> None:
    for n in range(10):
        await queue.enqueue(b"%d" % n)
    other = await WorkQueue.open(nats.url, "ns/prefill queue", ack_wait=1.0)
    seen = []
    for worker in [queue, other] * 5:
        item = await worker.dequeue(5)
        assert item is not None
        assert item.deliveries == 1
        seen.append(item.data)
        await item.ack()
    assert sorted(seen) == [b"%d" % n for n in range(10)]
    assert await queue.size() == 0
    assert await queue.dequeue(0.05) is None
    await other.close()


async def test_an_item_of_a_dead_worker_is_delivered_again(nats: NatsServer, queue: WorkQueue) -> None:
    await queue.enqueue(b"x")
    dying = await WorkQueue.open(nats.url, "ns/prefill queue", ack_wait=1.0)
    assert await dying.dequeue(5) is not None
    await dying.close()
    again = await queue.dequeue(20)
    assert again is not None
    assert (again.data, again.deliveries) == (b"x", 2)
    await again.extend()
    await again.ack()


async def test_a_released_item_comes_back(queue: WorkQueue) -> None:
    await queue.enqueue(b"x")
    item = await queue.dequeue(5)
    assert item is not None
    await item.release()
    again = await queue.dequeue(10)
    assert again is not None
    await again.ack()


async def test_an_item_past_its_deadline_reaches_no_worker(queue: WorkQueue) -> None:
    await queue.enqueue(b"late", deadline=0.0)
    await queue.enqueue(b"in time", deadline=60)
    item = await queue.dequeue(5)
    assert item is not None
    assert item.data == b"in time"
    assert queue.expired == 1
    await item.ack()


async def test_the_same_id_is_stored_once(queue: WorkQueue) -> None:
    await queue.enqueue(b"x", item_id="request-1")
    await queue.enqueue(b"x", item_id="request-1")
    assert await queue.size() == 1


async def test_items_survive_a_restart_of_nats(nats: NatsServer, queue: WorkQueue) -> None:
    await queue.enqueue(b"kept")
    nats.kill()
    async with asyncio.timeout(30):
        while queue.connected:
            await asyncio.sleep(0.01)
    with pytest.raises(QueueUnavailable, match="work queue ns_prefill_queue: enqueue failed"):
        await queue.enqueue(b"lost")
    nats.start()
    async with asyncio.timeout(30):
        while True:
            try:
                item = await queue.dequeue(1)
            except QueueUnavailable:
                await asyncio.sleep(0.05)
                continue
            if item is not None:
                break
    assert item.data == b"kept"
    await item.ack()
    assert await queue.size() == 0


async def test_no_server_is_one_clear_error() -> None:
    port = free_port()
    with pytest.raises(PlaneUnreachable, match=f"NATS at nats://127.0.0.1:{port} cannot be reached"):
        await WorkQueue.open(f"nats://127.0.0.1:{port}", "q", timeout=1)
