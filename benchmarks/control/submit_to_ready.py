"""From submit to ready of hello world, beside what a bare interpreter needs to import the same modules and bind a port.

    python -m benchmarks.control.submit_to_ready [--rounds 5]

Hello world starts in three waves (Backend, Middle, Frontend), so its bare time is the sum of three: each imports the
modules that a replica of that service imports (listed once by the interpreter itself, `PYTHONPROFILEIMPORTTIME`),
binds a port and exits. Both sides alternate; the ratio within a round is the figure.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dynamo.sdk.spec import GraphSpec, decode
from dynamod.drivers import logfile
from dynamod.engine import Engine
from dynamod.schema import GraphSubmit, Locations, locations

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello_world"

BARE = """
import importlib, socket, sys
for name in sys.argv[1].split(","):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
socket.create_server(("127.0.0.1", 0)).close()
"""


def inspected() -> GraphSpec:
    command = [sys.executable, "-m", "dynamo.sdk.inspect", "hello_world:Frontend", "--port", "0"]
    return decode(subprocess.run(command, cwd=EXAMPLE, check=True, capture_output=True).stdout)


async def submit_to_ready(spec: GraphSpec, places: Locations, envs: dict[str, str]) -> float:
    async with Engine(places) as engine, engine.subscribe() as events:
        begun = time.perf_counter()
        graph, _ = await engine.submit(GraphSubmit(spec=spec, envs=envs), actor="benchmark")
        while (await engine.graph("default", graph.name)).state != "ready":
            await anext(events)
        took = time.perf_counter() - begun
        await engine.stop(stop_graphs=True)
    return took


def imported(spec: GraphSpec) -> list[list[str]]:
    """The modules of each replica, from the interpreter's own account of its imports."""
    with tempfile.TemporaryDirectory() as name:
        places = locations(Path(name))
        asyncio.run(submit_to_ready(spec, places, {"PYTHONPROFILEIMPORTTIME": "1"}))
        found = []
        for directory in places.replicas_dir.iterdir():
            log = Path(logfile.log_dir(str(directory))) / logfile.segment_name(0)
            lines = [line.rsplit("|", 1) for line in log.read_text().splitlines() if line.startswith("import time:")]
            found.append(
                [parts[1].strip() for parts in lines if len(parts) == 2 and "imported package" not in parts[1]]
            )
        return found


def bare(modules: list[list[str]]) -> float:
    begun = time.perf_counter()
    for names in modules:
        subprocess.run([sys.executable, "-c", BARE, ",".join(names)], cwd=EXAMPLE, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    spec = inspected()
    modules = imported(spec)
    print(f"modules: {', '.join(str(len(names)) for names in modules)}")
    ratios = []
    for _ in range(options.rounds):
        alone = bare(modules)
        with tempfile.TemporaryDirectory() as name:
            ready = asyncio.run(submit_to_ready(spec, locations(Path(name)), {}))
        ratios.append(ready / alone)
        print(f"bare {alone:.2f} s, submit to ready {ready:.2f} s, ratio {ready / alone:.2f}")
    print(f"ratio: median {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
