"""How long an engine takes to come back to its live replicas, and what it costs at rest.

    python -m benchmarks.control.restart [--replicas 100] [--rounds 5] [--idle 10]

Replicas are `sleep` processes under real shims. Reported: from `Engine.start` in a fresh process (imports
counted apart) until every replica is adopted by proof; whether any pid changed; then CPU and memory of the engine
alone while nothing happens, and of one shim.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHILD = """
import asyncio, json, os, sys, time
begun = time.perf_counter()
from pathlib import Path
from dynamod.engine import Engine
from dynamod.schema import locations
imported = time.perf_counter()
async def main():
    async with Engine(locations(Path(sys.argv[1]))) as engine:
        memory, driver = engine.core.memory, engine.core.drivers["process"]
        while driver.watched < len(memory.replicas):
            await asyncio.sleep(0.002)
        adopted = time.perf_counter()
        pids = sorted(r.pid for r in memory.replicas.values())
        await asyncio.sleep(1)
        before = time.process_time()
        idle = float(sys.argv[2])
        await asyncio.sleep(idle)
        cpu = (time.process_time() - before) / idle
        pages = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        print(json.dumps({"import": imported - begun, "adopt": adopted - imported, "pids": pids,
                          "idle_cpu": cpu, "rss_mib": pages / 2**20}))
asyncio.run(main())
"""


async def prepare(directory: Path, count: int) -> list[int]:
    """Start the replicas and leave them."""
    from dynamo.sdk.spec import GraphSpec, ProbeSpec, ProbesSpec, ServiceSpec
    from dynamod.engine import Engine
    from dynamod.schema import GraphSubmit, locations

    program = directory / "sleeper"
    program.write_text("#!/bin/sh\nexec sleep 100000\n")
    program.chmod(0o755)
    probes = ProbesSpec(readiness=ProbeSpec(kind="exec", target="true", period=3600.0), liveness=None)
    service = ServiceSpec(name="Sleeper", target="m:Sleeper", workers=count, probes=probes)
    spec = GraphSpec(
        name="many",
        target="m:Sleeper",
        entry="Sleeper",
        services=(service,),
        interpreter=str(program),
        working_dir=str(directory),
    )
    async with Engine(locations(directory / "state")) as engine:
        await engine.submit(GraphSubmit(spec=spec), actor="benchmark")
        async with asyncio.timeout(300):
            while (await engine.graph("default", "many")).state != "ready":
                await asyncio.sleep(0.1)
        return sorted(r.pid or 0 for r in engine.core.memory.replicas.values())


async def clean(directory: Path) -> None:
    from dynamod.engine import Engine
    from dynamod.schema import locations

    async with Engine(locations(directory / "state")) as engine:
        await engine.stop(stop_graphs=True)


def shim_costs(directory: Path) -> tuple[float, float]:
    """Resident MiB and CPU seconds so far of a typical shim."""
    import psutil

    records = (directory / "state" / "replicas").glob("*/run-1.json")
    shims = [psutil.Process(json.loads(record.read_text())["shim_pid"]) for record in records]
    sizes = [shim.memory_info().rss / 2**20 for shim in shims]
    return statistics.median(sizes), statistics.median(sum(shim.cpu_times()[:2]) for shim in shims)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--idle", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        begun = time.perf_counter()
        pids = asyncio.run(prepare(directory, options.replicas))
        print(f"{options.replicas} replicas started in {time.perf_counter() - begun:.1f} s")
        try:
            rounds = []
            for number in range(options.rounds):
                idle = options.idle if number == 0 else 0.1
                command = [sys.executable, "-c", CHILD, str(directory / "state"), str(idle)]
                answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                assert answer["pids"] == pids, "a replica was restarted"
                rounds.append(answer)
                print(f"round {number + 1}: imports {answer['import']:.2f} s, start to adopted {answer['adopt']:.2f} s")
            adopt = sorted(r["adopt"] for r in rounds)
            print(f"start to all adopted: median {statistics.median(adopt):.2f} s ({adopt[0]:.2f}-{adopt[-1]:.2f})")
            print(
                f"idle engine: {100 * rounds[0]['idle_cpu']:.2f} % of a core, {rounds[0]['rss_mib']:.0f} MiB resident"
            )
            size, cpu = shim_costs(directory)
            print(f"shim: {size:.1f} MiB resident, {cpu:.2f} CPU seconds in its life so far")
        finally:
            asyncio.run(clean(directory))


if __name__ == "__main__":
    main()
