"""A graph over several hosts: real network namespaces, real etcd, TCP between them; cables pulled and put back."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dynamo.runtime import DistributedRuntime
from dynamo.runtime.client import Client
from dynamo.runtime.errors import InstanceLost, NoInstances
from dynamo.runtime.settings import Settings
from dynamo.runtime.transport.connection import Limits
from tests import hosts
from tests.integration.runtime.conftest import WORKER, Process
from tests.servers import EtcdServer

TTL = 3.0
SILENCE = 2.0

pytestmark = pytest.mark.skipif(bool(hosts.why_not()), reason=f"cannot make hosts here: {hosts.why_not()}")


class Cluster:
    def __init__(self, network: hosts.Network, etcd: EtcdServer, stack: AsyncExitStack) -> None:
        self.network = network
        self.etcd = etcd
        self.stack = stack

    async def worker(self, host: hosts.Host) -> Process:
        env = {
            **os.environ,
            "DYN_DISCOVERY": self.etcd.url,
            "DYN_SCOPE": "p/g",
            "DYN_RUN_DIR": hosts.PRIVATE,
            "DYN_TCP_HOST": host.address,
            "DYN_LEASE_TTL": str(TTL),
            "DYN_PEER_SILENCE": str(SILENCE),
        }
        started = await asyncio.create_subprocess_exec(
            *host.command(sys.executable, str(WORKER), "plain"), stdout=asyncio.subprocess.PIPE, env=env
        )
        process = Process(started)
        self.stack.push_async_callback(process.end)
        assert started.stdout is not None
        async with asyncio.timeout(30):
            assert await started.stdout.readline() == b"ready\n"
        return process

    async def client(self, endpoint: str, wait: float = 10.0) -> Client:
        limits = Limits(silence=SILENCE, connect_timeout=1.0)
        runtime = await DistributedRuntime.connect(
            self.etcd.url, scope="p/g", tcp_host=self.network.address, settings=Settings(limits=limits)
        )
        self.stack.push_async_callback(runtime.shutdown)
        return await runtime.namespace("ns").component("worker").endpoint(endpoint).client(wait=wait)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    network = hosts.make(2)
    try:
        etcd = EtcdServer(tmp_path, network.address)
        etcd.start()
        try:
            async with AsyncExitStack() as stack:
                yield Cluster(network, etcd, stack)
        finally:
            etcd.kill()
    finally:
        network.down()


async def answering(client: Client, requests: int = 20) -> set[int]:
    """The pids that answer; a request that finds nobody is an error of the test."""
    return {await (await client.round_robin(None)).one() for _ in range(requests)}


async def instances(client: Client, count: int, deadline: float = 20.0) -> float:
    """Wait until so many are known; how long that took."""
    begun = time.monotonic()
    async with asyncio.timeout(deadline):
        while len(client.instance_ids()) != count:
            await asyncio.sleep(0.02)
    return time.monotonic() - begun


async def test_requests_cross_hosts_over_tcp(cluster: Cluster) -> None:
    first, second = cluster.network.hosts
    workers = [await cluster.worker(first), await cluster.worker(second)]
    pid = await cluster.client("pid")
    await instances(pid, 2)
    assert await answering(pid) == {worker.pid for worker in workers}
    echo = await cluster.client("echo")
    payload = os.urandom(1 << 20)
    assert await (await echo.generate(payload)).one() == payload


async def test_a_partitioned_host_is_left_out_and_taken_back(cluster: Cluster) -> None:
    near, far = cluster.network.hosts
    near_worker, far_worker = await cluster.worker(near), await cluster.worker(far)
    pid, ticks = await cluster.client("pid"), await cluster.client("ticks")
    await instances(pid, 2)
    streams = [await ticks.round_robin(0.01) for _ in range(2)]
    for stream in streams:
        assert await anext(aiter(stream)) == 0
    cut = time.monotonic()
    far.cut_off()

    ended = 0
    for stream in streams:
        try:
            async with asyncio.timeout(SILENCE * 2):
                async for _ in stream:
                    pass
        except InstanceLost:
            ended += 1
        except TimeoutError:
            stream.cancel()
    assert ended == 1  # the far one's; the near one's went on

    assert await answering(pid, 5) == {near_worker.pid}
    await instances(pid, 1)
    assert time.monotonic() - cut > TTL / 2  # its lease ended by its TTL and not by the cut itself

    far.reconnect()
    await instances(pid, 2, deadline=40)
    async with asyncio.timeout(20):
        while far_worker.pid not in await answering(pid, 4):
            pass


async def test_a_lost_host_is_gone_after_its_ttl_and_a_new_one_replaces_it(cluster: Cluster) -> None:
    near, far = cluster.network.hosts
    near_worker, far_worker = await cluster.worker(near), await cluster.worker(far)
    pid = await cluster.client("pid")
    await instances(pid, 2)
    far.cut_off()  # first the cable, so that no connection of the dying host says goodbye
    far_worker.signal(signal.SIGKILL)
    assert await instances(pid, 1) > TTL / 2
    assert await answering(pid, 5) == {near_worker.pid}
    far.reconnect()
    replacement = await cluster.worker(far)
    await instances(pid, 2)
    assert await answering(pid) == {near_worker.pid, replacement.pid}


async def test_clients_outlive_an_outage_of_etcd(cluster: Cluster) -> None:
    near, far = cluster.network.hosts
    workers = [await cluster.worker(near), await cluster.worker(far)]
    pid, ticks = await cluster.client("pid"), await cluster.client("ticks")
    await instances(pid, 2)
    stream = await ticks.generate(0.01)
    assert await anext(aiter(stream)) == 0
    cluster.etcd.kill()
    await asyncio.sleep(TTL * 1.5)  # longer than the leases: what is known must be kept all the same
    assert await answering(pid) == {worker.pid for worker in workers}
    cluster.etcd.start()
    cluster.etcd.signal(signal.SIGSTOP)
    assert await answering(pid) == {worker.pid for worker in workers}
    cluster.etcd.signal(signal.SIGCONT)
    before = await anext(aiter(stream))
    async for number in stream:  # begun before the outage, and none of its items is missing after it
        assert number == before + 1
        before = number
        if number >= 100:
            break
    stream.cancel()
    late = await cluster.worker(near)
    await instances(pid, 3, deadline=40)
    async with asyncio.timeout(20):
        while late.pid not in await answering(pid, 6):
            await asyncio.sleep(0.02)


async def test_a_host_that_cannot_reach_anyone_says_so(cluster: Cluster) -> None:
    pid = await cluster.client("pid", wait=0.2)
    with pytest.raises(NoInstances, match=r"no instance in 0\.2 s"):
        async with asyncio.timeout(20):
            await pid.generate(None)
