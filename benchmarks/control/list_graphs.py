"""How long the REST API takes to list 1,000 graphs.

    python -m benchmarks.control.list_graphs [--graphs 1000] [--requests 200]

A real daemon on its Unix socket, one keep-alive connection, one request at a time; the whole list in one
page. Reported: wall time seen by the client, and the daemon's CPU time per request, which a busy box does
not inflate as much.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from dynamo.sdk.spec import DependencySpec, EndpointSpec, GraphSpec, ServiceSpec
from dynamo_tui.client import calls
from dynamo_tui.client.contexts import Context
from dynamo_tui.client.errors import ClientError
from dynamo_tui.client.sync import Client
from dynamod.schema import GraphSubmit, locations


def spec(number: int) -> GraphSpec:
    """Three services that depend on each other; none has a replica, so that nothing is started."""
    services = tuple(
        ServiceSpec(
            name=name,
            target=f"hello:{name}",
            workers=0,
            endpoints=(EndpointSpec(name="generate", kind="stream"),),
            dependencies=(DependencySpec(attribute="next", service=then),) if then else (),
        )
        for name, then in (("Frontend", "Middle"), ("Middle", "Backend"), ("Backend", ""))
    )
    return GraphSpec(name=f"graph-{number:04d}", target="hello:Frontend", entry="Frontend", services=services)


def connect(socket: Path, daemon: subprocess.Popen[bytes]) -> Client:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and daemon.poll() is None:
        client = Client(Context(socket=str(socket)), timeout=60)
        try:
            client.send(calls.health())
        except ClientError:
            time.sleep(0.05)
        else:
            return client
    raise SystemExit("the daemon does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dynamod-bench-") as name:
        where = locations(Path(name) / "state")
        daemon = subprocess.Popen(
            [sys.executable, "-m", "dynamod", "--state-dir", str(where.state_dir), "--log-level", "WARNING"]
        )
        try:
            with connect(where.api_socket, daemon) as client:
                measure(client, psutil.Process(daemon.pid), options.graphs, options.requests)
        finally:
            daemon.terminate()
            daemon.wait(60)


def measure(client: Client, daemon: psutil.Process, graphs: int, requests: int) -> None:
    began = time.perf_counter()
    for number in range(graphs):
        client.send(calls.submit(GraphSubmit(spec=spec(number))))
    print(f"{graphs} graphs submitted in {time.perf_counter() - began:.1f} s")
    time.sleep(2)
    call = calls.graphs(limit=1000)
    for _ in range(5):
        assert len(client.send(call).items) == min(graphs, 1000)
    before = sum(daemon.cpu_times()[:2])
    times = []
    for _ in range(requests):
        at = time.perf_counter()
        client.send(call)
        times.append(1000 * (time.perf_counter() - at))
    cpu = 1000 * (sum(daemon.cpu_times()[:2]) - before) / requests
    times.sort()
    print(
        f"list: p50 {statistics.median(times):.1f} ms, p99 {times[int(0.99 * len(times))]:.1f} ms seen by the client "
        f"(decoding included); {cpu:.1f} ms of daemon CPU each"
    )
    print(f"daemon: {daemon.memory_info().rss / 2**20:.0f} MiB resident")


if __name__ == "__main__":
    main()
