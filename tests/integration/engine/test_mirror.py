"""An engine's copy of a shared discovery, on a real etcd that goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dynamo.runtime.discovery.etcd import EtcdDiscovery
from dynamo.runtime.discovery.store import Store
from dynamod.core.errors import Unavailable
from dynamod.engine.mirror import DiscoveryMirror
from tests.servers import EtcdServer, free_port


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_copy_follows_and_outlives_an_outage(etcd: EtcdServer) -> None:
    shared = EtcdDiscovery(etcd.url, timeout=1.0)
    await shared.put("/dynamo/p/g/replicas/far", b"1")
    store = Store()
    seen: list[str] = []
    store.watch("/dynamo/p/g/", lambda change: seen.append(f"{change.kind} {change.key}"))
    mirror = DiscoveryMirror(etcd.url, store)
    await mirror.start()
    assert store.get("/dynamo/p/g/replicas/far") is not None
    await shared.put("/dynamo/p/g/replicas/other", b"2")
    await eventually(lambda: store.get("/dynamo/p/g/replicas/other") is not None)
    etcd.kill()
    assert len(store.get_prefix("/dynamo/").items) == 2
    etcd.start()
    await shared.delete("/dynamo/p/g/replicas/far")
    await eventually(lambda: store.get("/dynamo/p/g/replicas/far") is None)
    assert seen == [
        "put /dynamo/p/g/replicas/far",
        "put /dynamo/p/g/replicas/other",
        "delete /dynamo/p/g/replicas/far",
    ]
    await mirror.close()
    await shared.close()


async def test_an_etcd_that_does_not_answer_is_one_clear_error() -> None:
    mirror = DiscoveryMirror(f"etcd://127.0.0.1:{free_port()}", Store())
    with pytest.raises(Unavailable, match="does not answer"):
        await mirror.start()
