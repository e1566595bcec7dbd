"""Memory and local discovery through the same interface, and what the local one promises beyond it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dynamo.runtime.discovery import open_discovery
from dynamo.runtime.discovery.base import Discovery, Reset
from dynamo.runtime.discovery.local import LocalDiscoveryServer
from dynamo.runtime.errors import ConfigurationError, DiscoveryError
from tests.integration.runtime.conftest import Place


@pytest.fixture(params=["memory", "local"])
async def discovery(request: Any, short_dir: Path) -> AsyncIterator[Discovery]:
    if request.param == "memory":
        store = await open_discovery(f"memory://{short_dir.name}")
        yield store
        await store.close()
        return
    async with LocalDiscoveryServer(short_dir / "d.sock") as server:
        store = await open_discovery(f"unix://{server.path}")
        yield store
        await store.close()


async def test_the_interface(discovery: Discovery) -> None:
    revision = await discovery.put("/a/1", b"one")
    assert await discovery.put("/a/1", b"uno") > revision
    item = await discovery.get("/a/1")
    assert item is not None
    assert item.value == b"uno"
    assert await discovery.get("/a/2") is None
    assert await discovery.create("/a/2", b"two")
    assert not await discovery.create("/a/2", b"zwei")
    watch = await discovery.watch("/a/")
    assert [i.key for i in watch.snapshot.items] == ["/a/1", "/a/2"]
    lease = await discovery.grant(5)
    await discovery.put("/a/3", b"leased", lease)
    assert await discovery.delete("/a/1")
    await lease.revoke()
    async with asyncio.timeout(5):
        await lease.lost()
        changes = []
        async for change in watch:
            assert not isinstance(change, Reset)
            changes.append((change.kind, change.key))
            if len(changes) == 3:
                break
    assert changes == [("put", "/a/3"), ("delete", "/a/1"), ("delete", "/a/3")]
    assert await discovery.delete_prefix("/a/") == 1
    assert (await discovery.get_prefix("/a/")).items == ()
    await watch.close()
    with pytest.raises(DiscoveryError):
        await discovery.grant(0)


async def test_urls_that_mean_nothing_and_servers_that_are_not_there(short_dir: Path) -> None:
    for url in ("", "http://x", "unix://relative", "etcd://"):
        with pytest.raises(ConfigurationError, match="no discovery URL"):
            await open_discovery(url)
    with pytest.raises(DiscoveryError, match="no discovery server answers"):
        await open_discovery(f"unix://{short_dir}/none.sock", timeout=0.2)


async def test_a_second_server_does_not_steal_a_living_socket(short_dir: Path) -> None:
    async with LocalDiscoveryServer(short_dir / "d.sock"):
        with pytest.raises(FileExistsError):
            await LocalDiscoveryServer(short_dir / "d.sock").start()


async def test_a_stopped_process_loses_its_lease_and_registers_again_when_it_goes_on(place: Place) -> None:
    worker = await place.worker(DYN_LEASE_TTL="1")
    runtime = await place.runtime()
    client = await runtime.namespace("ns").component("worker").endpoint("pid").client()
    (instance,) = client.instance_ids()
    worker.signal(signal.SIGSTOP)
    async with asyncio.timeout(15):
        async for ids in client.updates():
            if not ids:
                break
    worker.signal(signal.SIGCONT)
    async with asyncio.timeout(15):
        assert await client.wait_for_instances(15) == [instance]
        assert await (await client.generate()).one() == worker.pid


async def test_clients_work_through_an_outage_and_register_again_after_a_restart(place: Place) -> None:
    worker = await place.worker()
    runtime = await place.runtime()
    component = runtime.namespace("ns").component("worker")
    client = await component.endpoint("pid").client()
    ticks = await (await component.endpoint("ticks").client()).generate(0.01)
    watch = await runtime.discovery.watch("/dynamo/p/g/instances/")
    before = {item.key for item in watch.snapshot.items}
    assert await anext(ticks) == 0
    await place.server.stop()
    for _ in range(20):
        await anext(ticks)
        assert await (await client.generate()).one() == worker.pid
    place.server = LocalDiscoveryServer(place.socket)
    await place.server.start()
    last: set[str] = set()
    async with asyncio.timeout(15):
        while last != before:
            assert await (await client.generate()).one() == worker.pid
            last = {item.key for item in place.server.store.get_prefix("/dynamo/p/g/instances/").items}
        async for item in watch:
            if isinstance(item, Reset):
                break
    assert await anext(ticks) > 0
    worker.signal(signal.SIGKILL)
    async with asyncio.timeout(5):
        while place.server.store.get_prefix("/dynamo/p/g/instances/").items:
            await asyncio.sleep(0.005)


async def test_a_lease_that_is_lost_while_something_registers_is_no_error(place: Place) -> None:
    """A start-up that keeps its process busy for longer than its lease must not fail for it."""
    runtime = await place.runtime()
    lease = await runtime.instance_id()
    place.server._expire(lease)
    held = await runtime.register(lambda instance: f"/dynamo/p/g/x/{instance}", lambda _: b"here")
    async with asyncio.timeout(15):
        while not (found := place.server.store.get_prefix("/dynamo/p/g/x/").items):
            await asyncio.sleep(0.01)
    assert [item.value for item in found] == [b"here"]
    await held.remove()


async def test_registering_waits_for_a_discovery_that_is_away(place: Place) -> None:
    runtime = await place.runtime()
    await runtime.instance_id()
    await place.server.stop()
    registering = asyncio.create_task(runtime.register(lambda instance: f"/dynamo/p/g/x/{instance}", lambda _: b"here"))
    await asyncio.sleep(0.2)
    assert not registering.done()
    place.server = LocalDiscoveryServer(place.socket)
    await place.server.start()
    async with asyncio.timeout(20):
        await registering
    assert [item.value for item in place.server.store.get_prefix("/dynamo/p/g/x/").items] == [b"here"]
