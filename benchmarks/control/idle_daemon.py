"""What the whole daemon costs while 100 replicas do nothing: engine, REST face and observers.

    python -m benchmarks.control.idle_daemon [--replicas 100] [--seconds 30]

The replicas are told of in discovery by one process that also serves their metrics streams, one stream for
each, over the real transport: the daemon follows 100 of them. (What an engine costs with 100 real processes
at rest is `benchmarks.control.restart`.)
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.control.list_graphs import connect
from dynamo.runtime import DistributedRuntime, ReplicaStatus, keys, status
from dynamo_tui.client import calls
from dynamo_tui.client.contexts import Context
from dynamo_tui.client.sync import Client
from dynamod.schema import locations

SCOPE = "default/many"


async def stand_in(discovery: str, run_dir: Path, count: int, ready: asyncio.Event, done: asyncio.Event) -> None:
    runtime = await DistributedRuntime.connect(discovery, scope=SCOPE, run_dir=run_dir)
    first = ReplicaStatus(replica_id="w-0", service="Worker", pid=1, host="h", state="ready")
    await runtime.report(first)
    lease = await runtime.instance_id()
    for number in range(1, count):
        report = ReplicaStatus(
            replica_id=f"w-{number}",
            service="Worker",
            pid=1,
            host="h",
            state="ready",
            instance_id=lease,
            address=runtime.address,
        )
        await runtime.discovery.put(keys.replica_key(SCOPE, report.replica_id), status.encode(report))
    ready.set()
    await done.wait()
    await runtime.shutdown()


async def measure(
    discovery: str, run_dir: Path, socket: Path, daemon: psutil.Process, count: int, seconds: float
) -> None:
    ready, done = asyncio.Event(), asyncio.Event()
    replicas = asyncio.ensure_future(stand_in(discovery, run_dir, count, ready, done))
    await ready.wait()
    await asyncio.sleep(8)
    before, began = sum(daemon.cpu_times()[:2]), time.monotonic()
    await asyncio.sleep(seconds)
    cpu = (sum(daemon.cpu_times()[:2]) - before) / (time.monotonic() - began)
    print(f"{count} idle replicas: {100 * cpu:.2f} % of a core, {daemon.memory_info().rss / 2**20:.0f} MiB resident")
    with Client(Context(socket=str(socket)), timeout=30) as client:
        text = await asyncio.to_thread(client.send, calls.daemon_metrics())
    print(next(line for line in text.splitlines() if line.startswith("dynamod_metric_streams ")))
    done.set()
    await replicas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dynamod-bench-") as name:
        where = locations(Path(name) / "state")
        daemon = subprocess.Popen(
            [sys.executable, "-m", "dynamod", "--state-dir", str(where.state_dir), "--log-level", "WARNING"]
        )
        try:
            with connect(where.api_socket, daemon) as client:
                process = psutil.Process(daemon.pid)
                discovery = client.send(calls.info()).discovery
                run_dir = Path(name) / "r"
                asyncio.run(measure(discovery, run_dir, where.api_socket, process, options.replicas, options.seconds))
        finally:
            daemon.terminate()
            daemon.wait(60)


if __name__ == "__main__":
    main()
