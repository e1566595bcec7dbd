"""Fifty replicas of one service at once: where the time goes, and what of it is ours.

    python -m benchmarks.control.many_replicas [--replicas 50] [--rounds 3]

A graph with so many workers is submitted to an engine, from submit to all ready. Beside it, in turns, so many bare
interpreters import the same modules and bind a port, all at once as well. On a machine whose CPUs
are busy from beginning to end nobody can be faster than the CPU time that the replicas themselves take; the profile
tells that time apart from the engine's and the shims'.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from msgspec.structs import replace

from benchmarks.control.submit_to_ready import BARE, EXAMPLE, imported, inspected
from dynamo.sdk.spec import GraphSpec
from dynamod.engine import Engine
from dynamod.schema import GraphSubmit, locations

SERVICE = "Backend"


@dataclass
class Start:
    """Seconds. `busy` is the share of the machine's CPUs that anybody used meanwhile, ours or not."""

    wall: float
    engine_cpu: float
    replicas_cpu: float
    shims_cpu: float
    busy: float


def only_backend(replicas: int) -> GraphSpec:
    """Hello world's Backend alone, so many times: no replica waits for another."""
    spec = inspected()
    backend = replace(spec.service(SERVICE), workers=replicas)
    return replace(spec, name="many", entry=SERVICE, services=(backend,))


async def start_all(spec: GraphSpec, directory: Path) -> Start:
    async with Engine(locations(directory)) as engine, engine.subscribe() as events:
        idle = psutil.cpu_times()
        began, cpu = time.perf_counter(), time.process_time()
        await engine.submit(GraphSubmit(spec=spec), actor="benchmark")
        while (await engine.graph("default", spec.name)).state != "ready":
            await anext(events)
        wall, engine_cpu = time.perf_counter() - began, time.process_time() - cpu
        busy = _busy_since(idle)
        replicas_cpu = shims_cpu = 0.0
        for replica in (await engine.replicas(limit=1000)).items:
            process = psutil.Process(replica.pid)
            replicas_cpu += sum(process.cpu_times()[:2])
            shim = process.parent()
            shims_cpu += sum(shim.cpu_times()[:2]) if shim is not None else 0.0
        await engine.stop(stop_graphs=True)
    return Start(wall, engine_cpu, replicas_cpu, shims_cpu, busy)


def _busy_since(before: psutil._ntuples.scputimes) -> float:
    now = psutil.cpu_times()
    used = sum(getattr(now, name) - getattr(before, name) for name in ("user", "nice", "system"))
    idle = sum(getattr(now, name) - getattr(before, name) for name in ("idle", "iowait"))
    return used / (used + idle)


def bare_all(modules: list[str], replicas: int) -> tuple[float, float]:
    """Wall and CPU seconds of so many bare interpreters."""

    command = [sys.executable, "-c", BARE, ",".join(modules)]

    def one(_: int) -> None:  # in sessions of their own, as replicas are: kernels may share CPUs out by session
        subprocess.run(command, cwd=EXAMPLE, check=True, capture_output=True, start_new_session=True)

    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with ThreadPoolExecutor(replicas) as pool:
        list(pool.map(one, range(replicas)))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    modules = imported(only_backend(1))[0]
    spec = only_backend(options.replicas)
    cores = len(os.sched_getaffinity(0))
    ratios = []
    for _ in range(options.rounds):
        wall, cpu = bare_all(modules, options.replicas)
        with tempfile.TemporaryDirectory() as name:
            ours = asyncio.run(start_all(spec, Path(name)))
        whole = ours.engine_cpu + ours.replicas_cpu + ours.shims_cpu
        ratios.append(ours.wall / wall)
        print(
            f"bare: {wall:.1f} s, {cpu:.1f} s of CPU | ours: {ours.wall:.1f} s, {whole:.1f} s of CPU on {cores} cores "
            f"({100 * ours.busy:.0f} % busy): replicas {ours.replicas_cpu:.1f}, shims {ours.shims_cpu:.1f}, "
            f"engine {ours.engine_cpu:.1f} ({100 * ours.engine_cpu / whole:.0f} %) | ratio {ratios[-1]:.2f}"
        )
    print(f"ratio: median {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
