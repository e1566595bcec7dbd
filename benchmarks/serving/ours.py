"""Our side: the routed example as real processes, and what each service's CPU did."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil

from tests.e2e.llm.graph import running

# The simulator as fast as it goes: the frontend is measured, not the engine.
FAST = ("--Worker.speedup-ratio=10000", "--Worker.num-gpu-blocks=16384", "--Worker.ServiceArgs.workers=2")


@dataclass
class Side:
    """A frontend under test. `frontend` are the processes whose CPU counts as the frontend's."""

    port: int
    model: str
    frontend: list[psutil.Process]
    all: list[psutil.Process]

    def cpu(self, *, everything: bool = False) -> float:
        """Seconds of CPU so far."""
        return sum(sum(p.cpu_times()[:2]) for p in (self.all if everything else self.frontend))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@asynccontextmanager
async def ours(*overrides: str, graph: str = "graphs.agg_router:Frontend") -> AsyncIterator[Side]:
    """The routed example with two workers. All but the workers do what the peer's frontend process does."""
    with tempfile.TemporaryDirectory(prefix="bench-") as state:
        # One port for all frontends of the graph, where there are several.
        environment = {"DYNAMO_PORT": str(free_port()), "DYN_LOCAL_STATE_DIR": state, "DYN_LOG": "warning"}
        async with running(graph, "configs/agg_router.yaml", *FAST, *overrides, **environment) as (made, url):
            processes = {name: psutil.Process(p.pid) for name, p in made.processes.items()}
            frontend = [p for name, p in processes.items() if not name.startswith("worker")]
            yield Side(int(url.rpartition(":")[2]), "tiny", frontend, list(processes.values()))


async def measure(
    side: Side,
    *,
    clients: int = 1,
    requests: int,
    words: int = 200,
    tokens: int = 64,
    seed: int = 1,
    rate: float = 0.0,
) -> dict[str, float]:
    """One run of the load generator, in a process of its own, with the side's CPU per token (µs)."""
    before, before_all = side.cpu(), side.cpu(everything=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.serving.load", str(side.port), "--model", side.model,
        "--clients", str(clients), "--requests", str(requests), "--words", str(words), "--tokens", str(tokens),
        "--seed", str(seed), "--rate", str(rate), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    figures: dict[str, float] = json.loads(out)
    done = max(1.0, figures["requests"] * tokens)
    figures["frontend_cpu_us_per_token"] = 1e6 * (side.cpu() - before) / done
    figures["all_cpu_us_per_token"] = 1e6 * (side.cpu(everything=True) - before_all) / done
    return figures
