"""The etcd backend against a real server that is killed, frozen, restarted and compacted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from dynamo.runtime.discovery.base import Change, Reset, WatchItem
from dynamo.runtime.discovery.etcd import EtcdDiscovery, EtcdWatch
from dynamo.runtime.discovery.etcd_gateway import parse_endpoints
from dynamo.runtime.errors import DiscoveryError, LeaseLost
from tests.servers import EtcdServer, free_port

DEADLINE = 30.0


@pytest.fixture
async def store(etcd: EtcdServer) -> AsyncIterator[EtcdDiscovery]:
    discovery = EtcdDiscovery(etcd.url, timeout=1.0)
    yield discovery
    await discovery.close()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                if await condition():
                    return
            except DiscoveryError:
                pass
            await asyncio.sleep(0.02)


async def next_item(watch: EtcdWatch) -> WatchItem:
    async with asyncio.timeout(DEADLINE):
        return await anext(aiter(watch))


async def test_put_get_delete_and_prefix(store: EtcdDiscovery) -> None:
    first = await store.put("/a/1", b"one")
    second = await store.put("/a/2", bytes(range(256)))
    await store.put("/b/1", b"other")
    assert second > first
    found = await store.get("/a/2")
    assert found is not None
    assert (found.value, found.revision) == (bytes(range(256)), second)
    assert await store.get("/a/3") is None
    assert [kv.key for kv in (await store.get_prefix("/a/")).items] == ["/a/1", "/a/2"]
    assert await store.delete("/a/1")
    assert not await store.delete("/a/1")
    assert await store.delete_prefix("/") == 2


async def test_create_is_only_for_the_first(store: EtcdDiscovery) -> None:
    answers = await asyncio.gather(*(store.create("/lock", b"%d" % n) for n in range(20)))
    assert sum(answers) == 1


async def test_watch_delivers_every_change_in_order(store: EtcdDiscovery) -> None:
    await store.put("/w/0", b"before")
    watch = await store.watch("/w/")
    assert [kv.value for kv in watch.snapshot.items] == [b"before"]
    for n in range(50):
        await store.put(f"/w/{n}", b"%d" % n)
    await store.delete("/w/0")
    seen = [await next_item(watch) for _ in range(51)]
    assert all(isinstance(item, Change) for item in seen)
    assert [c.key for c in seen if isinstance(c, Change)] == [f"/w/{n}" for n in range(50)] + ["/w/0"]
    assert isinstance(seen[-1], Change)
    assert seen[-1].kind == "delete"
    await watch.close()
    assert [item async for item in watch] == []


async def test_watch_resumes_after_the_server_was_killed(etcd: EtcdServer, store: EtcdDiscovery) -> None:
    watch = await store.watch("/w/")
    await store.put("/w/1", b"1")
    assert isinstance(await next_item(watch), Change)
    etcd.kill()
    with pytest.raises(DiscoveryError, match="does not answer"):
        await store.put("/w/2", b"2")
    etcd.start()
    await store.put("/w/3", b"3")
    item = await next_item(watch)
    assert isinstance(item, Change)
    assert (item.key, item.value) == ("/w/3", b"3")


async def test_watch_starts_over_when_its_revision_was_compacted(etcd: EtcdServer, store: EtcdDiscovery) -> None:
    watch = await store.watch("/w/")
    await store.put("/w/1", b"1")
    await next_item(watch)
    # While this client is cut off, others change the store and compact its history.
    real, store.gateway.endpoints[0] = store.gateway.endpoints[0], f"http://127.0.0.1:{free_port()}"
    etcd.kill()
    etcd.start()
    other = EtcdDiscovery(etcd.url)
    revision = 0
    for n in range(5):
        revision = await other.put("/w/2", b"%d" % n)
    await other.gateway.call("kv/compaction", {"revision": str(revision), "physical": True})
    await other.close()
    store.gateway.endpoints[0] = real
    item = await next_item(watch)
    assert isinstance(item, Reset)
    assert {kv.key: kv.value for kv in item.snapshot.items} == {"/w/1": b"1", "/w/2": b"4"}
    await store.put("/w/9", b"9")
    assert isinstance(await next_item(watch), Change)


async def test_a_lease_keeps_its_keys_alive_and_takes_them_with_it(store: EtcdDiscovery) -> None:
    lease = await store.grant(1.0)
    await store.put("/l/1", b"1", lease)
    watch = await store.watch("/l/")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3.0):  # three times its TTL: only keep-alive explains that it lives
            await anext(aiter(watch))
    assert await store.get("/l/1") is not None
    await lease.revoke()
    await lease.lost()
    assert await store.get("/l/1") is None


async def test_a_dead_host_is_gone_after_its_ttl(etcd: EtcdServer, store: EtcdDiscovery) -> None:
    host = EtcdDiscovery(etcd.url)
    lease = await host.grant(2.0)
    await host.put("/hosts/1", b"alive", lease)
    watch = await store.watch("/hosts/")
    assert len(watch.snapshot.items) == 1
    await lease.abandon()  # what etcd sees of a host that lost its power
    item = await next_item(watch)
    assert isinstance(item, Change)
    assert item.kind == "delete"
    await host.gateway.close()


async def test_an_expired_lease_says_so(store: EtcdDiscovery) -> None:
    lease = await store.grant(1.0)
    await store.put("/l/1", b"1", lease)
    await store.gateway.call("lease/revoke", {"ID": str(lease.id)})  # as if it had expired during an outage
    async with asyncio.timeout(DEADLINE):
        await lease.lost()
    with pytest.raises(LeaseLost, match="has expired on etcd"):
        await store.put("/l/1", b"1", lease)
    with pytest.raises(LeaseLost):
        await store.create("/l/2", b"1", lease)


async def test_a_frozen_server_is_noticed_and_its_neighbour_asked(etcd: EtcdServer) -> None:
    dead = f"127.0.0.1:{free_port()}"
    store = EtcdDiscovery(f"etcd://{dead},127.0.0.1:{etcd.port}", timeout=0.5)
    await store.put("/x", b"1")  # the first endpoint refuses: the second answers
    etcd.signal(signal.SIGSTOP)
    with pytest.raises(DiscoveryError) as caught:
        await store.put("/x", b"2")
    assert dead in str(caught.value)
    etcd.signal(signal.SIGCONT)

    async def answers() -> bool:
        return await store.put("/x", b"3") > 0

    await eventually(answers)
    await store.close()


def test_a_url_without_a_host_is_refused() -> None:
    assert parse_endpoints("etcd://a,b:1") == ["http://a:2379", "http://b:1"]
    assert parse_endpoints("etcds://a") == ["https://a:2379"]
    with pytest.raises(DiscoveryError, match=r"has no host; write etcd://host:2379"):
        parse_endpoints("etcd://:2379")
