"""Workers that are stopped, killed and restarted under load."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from dynamo.runtime import Client
from dynamo.runtime.discovery.local import LocalDiscoveryServer
from dynamo.runtime.errors import InstanceLost
from tests.integration.runtime.conftest import Place


async def test_a_stopped_peer_is_found_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYN_PEER_SILENCE", "1")
    worker = await place.worker()
    runtime = await place.runtime()
    component = runtime.namespace("ns").component("worker")
    ticks = await (await component.endpoint("ticks").client()).generate(0.01)
    await anext(ticks)
    worker.signal(signal.SIGSTOP)
    with pytest.raises(InstanceLost):
        async with asyncio.timeout(15):
            async for _ in ticks:
                pass
    worker.signal(signal.SIGCONT)
    client = await component.endpoint("pid").client(wait=15)
    assert await (await client.generate()).one() == worker.pid


async def test_no_request_fails_while_workers_are_killed_and_replaced(place: Place) -> None:
    workers = [await place.worker(), await place.worker()]
    runtime = await place.runtime()
    client = await runtime.namespace("ns").component("worker").endpoint("slow_start").client()
    answered = 0
    stop = False

    async def load() -> None:
        nonlocal answered
        while not stop:
            await (await client.generate(0.01)).one()
            answered += 1

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(load())
        for round_ in range(3):
            before = answered
            while answered < before + 50:
                await asyncio.sleep(0.01)
            workers[round_ % 2].signal(signal.SIGKILL)
            workers[round_ % 2] = await place.worker()
        stop = True
    assert answered > 150


async def test_a_slow_reader_costs_its_producer_bounded_memory(place: Place) -> None:
    worker = await place.worker()
    runtime = await place.runtime()
    component = runtime.namespace("ns").component("worker")
    size = 100_000
    state = await component.endpoint("state").client()
    before = resident(worker.pid)
    stream = await (await component.endpoint("flood").client()).generate(size)
    assert len(await anext(stream)) == size
    produced = -1
    async with asyncio.timeout(15):
        while (now := (await (await state.generate()).one())["produced"]) != produced:
            produced = now
            await asyncio.sleep(0.2)
    assert produced * size < 4 << 20
    assert resident(worker.pid) - before < 32 << 20
    stream.cancel()
    async with asyncio.timeout(5):
        while not (await (await state.generate()).one())["stopped"]:
            await asyncio.sleep(0.01)


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


async def test_a_request_waits_for_what_replaces_all_that_is_known(place: Place) -> None:
    """All known instances go while discovery is away: whoever asks waits until it is back, and tells of others."""
    old = [await place.worker() for _ in range(2)]
    runtime = await place.runtime()
    client = await runtime.namespace("ns").component("worker").endpoint("pid").client()
    async with asyncio.timeout(20):
        while len(client.instance_ids()) < 2:
            await asyncio.sleep(0.01)
    await place.server.stop()
    for worker in old:
        worker.signal(signal.SIGKILL)
        await worker.wait()
    asked = asyncio.create_task(one(client))
    await asyncio.sleep(2.5)  # longer than an instance is avoided: both have been tried again, in vain
    assert not asked.done()
    place.server = LocalDiscoveryServer(place.socket)
    await place.server.start()
    new = await place.worker()
    async with asyncio.timeout(20):
        assert await asked == new.pid


async def one(client: Client) -> int:
    pid: int = await (await client.generate()).one()
    return pid
