"""From starting the processes to the first completion: `python -m benchmarks.serving.startup`.

A frontend and one simulated worker, all of a side's processes started at once, on one model directory that is there
already. Alternating runs; the client asks every few milliseconds until it gets an answer. Resident memory is taken
after that answer. Ours is the example's smallest graph, its frontend planning in its own process like the peer's;
`--graph` measures another one. Our discovery is the benchmark's own process, the peer's a directory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.serving.ours import free_port
from benchmarks.serving.theirs import peer_interpreter, peer_processes
from dynamo.llm.tinymodel import make
from tests.e2e.llm.graph import graph_of

POLL = 0.005
TIMEOUT = 120.0

CHAT = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(CHAT), CHAT)
)


@dataclass
class Start:
    """One start: seconds to the first completion, CPU of all processes until then, resident MB by process."""

    seconds: float
    cpu: float
    memory: dict[str, float]


@dataclass
class Launched:
    """A side whose processes have just been started, at `at` on `time.perf_counter`."""

    at: float
    processes: dict[str, psutil.Process]


async def first_completion(port: int, processes: dict[str, psutil.Process]) -> None:
    """Wait until a chat is answered.

    Raises:
        RuntimeError: a process ended instead.
        TimeoutError: nothing for two minutes.
    """
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(REQUEST)
                answer = await reader.read()
                writer.close()
                if answer.startswith(b"HTTP/1.1 200"):
                    return
            except OSError:
                pass
            for name, process in processes.items():
                if process.status() == psutil.STATUS_ZOMBIE:
                    raise RuntimeError(f"{name} ended instead of serving")
            await asyncio.sleep(POLL)


@asynccontextmanager
async def ours(graph: str, config: str, model: Path, port: int) -> AsyncIterator[Launched]:
    options = (f"--Worker.model={model}", "--Worker.served-model-name=tiny", "--Worker.ServiceArgs.workers=1")
    async with graph_of(graph, config, *options, DYNAMO_PORT=str(port), DYN_LOG="warning") as made:
        started = time.perf_counter()
        for name in made.spec.service_names():
            await made.start(name, 1)
        yield Launched(started, {name: psutil.Process(process.pid) for name, process in made.processes.items()})


@asynccontextmanager
async def theirs(model: Path, port: int) -> AsyncIterator[Launched]:
    started = time.perf_counter()
    async with peer_processes(model, port, workers=1) as processes:
        yield Launched(started, processes)


async def measure(side: AbstractAsyncContextManager[Launched], port: int) -> Start:
    async with side as launched:
        await first_completion(port, launched.processes)
        seconds = time.perf_counter() - launched.at
        cpu = sum(sum(process.cpu_times()[:2]) for process in launched.processes.values())
        memory = {name: process.memory_info().rss / 1e6 for name, process in launched.processes.items()}
        return Start(seconds, cpu, memory)


def show(name: str, starts: list[Start]) -> None:
    seconds, cpu = sorted(s.seconds for s in starts), statistics.median(s.cpu for s in starts)
    memory = {process: statistics.median(s.memory[process] for s in starts) for process in starts[0].memory}
    parts = " + ".join(f"{process} {used:.0f}" for process, used in memory.items())
    print(
        f"{name:8} {statistics.median(seconds):5.2f} s ({seconds[0]:.2f} … {seconds[-1]:.2f}), {cpu:.2f} s of CPU; "
        f"{sum(memory.values()):.0f} MB resident = {parts}"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--graph", default="graphs.direct:Frontend")
    parser.add_argument("--config", default="configs/agg.yaml")
    given = parser.parse_args()
    peer_interpreter()
    directory = Path(tempfile.mkdtemp(prefix="start-"))
    try:
        model = make(directory / "tiny")
        starts: dict[str, list[Start]] = {"ours": [], "theirs": []}
        for pair in range(given.pairs + 1):
            for name in starts:
                port = free_port()
                side = ours(given.graph, given.config, model, port) if name == "ours" else theirs(model, port)
                figures = await measure(side, port)
                if pair:  # the first of each reads its files from disk
                    starts[name].append(figures)
        for name, figures_of in starts.items():
            show(name, figures_of)
        ratios = sorted(a.seconds / b.seconds for a, b in zip(starts["ours"], starts["theirs"], strict=True))
        print(f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} … {ratios[-1]:.2f})")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
