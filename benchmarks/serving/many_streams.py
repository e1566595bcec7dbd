"""Thousands of streamed chats at once, for minutes: frontend, processor, router and eight simulated workers.

    python -m benchmarks.serving.many_streams [--streams 2000] [--minutes 10] [--cores 0,1] [--json FILE]

Each client holds one connection and asks one chat after another. A step of the simulated engines takes so long that a
stream gets `--pace` tokens a second: all of them together stay within what two cores can carry, so that what is seen is
how the load is borne, not how fast it goes.
Then half as many clients again come at once: the surplus must be told to come back (429 or 503 with Retry-After), and
when it has left, everything must be as before. Ends with 1 when a chat failed or was cut, a refusal named no time, the
processes grew on and on, or it did not recover.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.serving.load import body
from tests.e2e.llm.graph import running

TOKENS, WORDS = 64, 120
WORKERS = 8
SAMPLE_S = 5.0
OVERLOAD_S, RECOVERY_S = 20.0, 20.0
SILENCE_S = 60.0
"""A stream from which nothing comes for so long has failed."""


@dataclass
class Phase:
    """What a group of clients saw in one stretch of time. Times in milliseconds."""

    done: int = 0
    chunks: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    shed: Counter[str] = field(default_factory=Counter)
    ttft: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    longest_gap: float = 0.0
    totals: list[float] = field(default_factory=list)
    by_client: Counter[int] = field(default_factory=Counter)

    def tokens(self, count: int, gap: float, *, first: bool) -> None:
        self.chunks += count
        (self.ttft if first else self.gaps).append(gap)
        if not first:
            self.longest_gap = max(self.longest_gap, gap)
        if len(self.gaps) > 2_000_000:  # minutes of it: every other one keeps the quantiles and the memory
            del self.gaps[::2]

    def summary(self, seconds: float) -> dict[str, Any]:
        served = sorted(self.by_client.values())
        return {
            "chats": self.done,
            "chats_per_s": round(self.done / seconds, 1),
            "tokens_per_s": round(self.chunks / seconds),
            "ttft_ms": _quantiles(self.ttft),
            "itl_ms": {**_quantiles(self.gaps), "max": round(self.longest_gap)},
            "chat_ms": _quantiles(self.totals),
            "chats_per_client": {"min": served[0], "median": served[len(served) // 2], "max": served[-1]}
            if served
            else {},
            "shed": dict(self.shed),
            "errors": dict(self.errors),
        }


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [float("nan")]
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) for name, share in _SHARES}


_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


class Failed(Exception):
    """A chat that did not end as it should."""


class Clients:
    """`now` is the phase that what happens is counted in."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.now = Phase()
        self.chance = random.Random(seed)

    async def keep_asking(self, number: int, until: asyncio.Event) -> None:
        """One client: a chat after the other on one connection, which is opened anew after a refusal."""
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not until.is_set():
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", self.port)
                wait = await self._ask(number, *streams)
            except (OSError, Failed, TimeoutError, asyncio.IncompleteReadError) as error:
                self.now.errors[f"{type(error).__name__}: {error}"[:120]] += 1
                wait = 1.0
            if wait:
                if streams is not None:
                    streams[1].close()
                streams = None
                await asyncio.sleep(wait * self.chance.uniform(1.0, 1.5))
        if streams is not None:
            streams[1].close()

    async def _ask(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        """One chat; 0 when it was answered, or the seconds after which the client may ask again."""
        content = body("tiny", WORDS, TOKENS, self.chance)
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        began = last = time.perf_counter()
        writer.write(head.encode() + content)
        async with asyncio.timeout(SILENCE_S):
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = answer.split(" ", 2)[1]
        if status != "200":
            return self._refused(status, answer)
        first, tokens = True, 0
        tail = b""
        while not tail.endswith(b"0\r\n\r\n"):
            async with asyncio.timeout(SILENCE_S):
                data = await reader.read(65536)
            if not data:
                raise Failed(f"the stream was cut after {tokens} tokens")
            if b'"error"' in data:
                raise Failed(f"an error in the stream: {data[:200]!r}")
            tail = (tail + data)[-64:]
            if not (count := data.count(b'"content":"')):
                continue
            moment = time.perf_counter()
            self.now.tokens(count, 1000 * (moment - last), first=first)
            first, last = False, moment
            tokens += count
        if b"[DONE]" not in tail:
            raise Failed(f"the stream ended without [DONE] after {tokens} tokens")
        self.now.done += 1
        self.now.totals.append(1000 * (time.perf_counter() - began))
        self.now.by_client[number] += 1
        return 0.0

    def _refused(self, status: str, answer: str) -> float:
        if status not in ("429", "503"):
            raise Failed(f"status {status}")
        header = next((line for line in answer.split("\r\n") if line.startswith("retry-after:")), None)
        if header is None:
            raise Failed(f"status {status} without Retry-After")
        self.now.shed[status] += 1
        return float(header.partition(":")[2])


class Watch:
    """Resident memory and open files of every process, over time."""

    def __init__(self, processes: dict[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in processes.items()}
        self.samples: list[dict[str, tuple[int, int]]] = []

    async def run(self) -> None:
        while True:
            self.samples.append({n: (p.memory_info().rss >> 20, p.num_fds()) for n, p in self._processes.items()})
            await asyncio.sleep(SAMPLE_S)

    def cpu(self) -> dict[str, float]:
        return {name: sum(p.cpu_times()[:2]) for name, p in self._processes.items()}

    def over_time(self) -> dict[str, list[int]]:
        """At most thirteen points of each role's memory in MiB: of several workers, the largest."""
        step = max(1, len(self.samples) // 12)
        roles: dict[str, list[int]] = {}
        for sample in self.samples[::step]:
            largest: dict[str, int] = {}
            for name, (rss, _) in sample.items():
                role = name.rstrip("0123456789-")
                largest[role] = max(largest.get(role, 0), rss)
            for role, rss in largest.items():
                roles.setdefault(role, []).append(rss)
        return roles

    def grown(self, begin: int, end: int) -> list[str]:
        """Roles whose memory grew by more than a tenth, and 8 MiB, between two samples under the same load."""
        found = []
        for name, (rss, _) in self.samples[end].items():
            before = self.samples[begin][name][0]
            if rss > 1.1 * before + 8:
                found.append(f"{name} grew from {before} to {rss} MiB under constant load")
        return found


async def run(streams: int, minutes: float, pace: float, seed: int) -> dict[str, Any]:
    settings = [
        f"--Worker.ServiceArgs.workers={WORKERS}",
        "--Worker.speedup-ratio=1",
        f"--Worker.timing={json.dumps({'overhead_s': 1.0 / pace})}",
        "--Worker.num-gpu-blocks=8192",
        f"--Worker.max-num-seqs={streams // WORKERS * 2}",
        f"--Frontend.max_concurrent={streams + streams // 5}",  # one ends as the next begins: both count for a moment
    ]
    with tempfile.TemporaryDirectory(prefix="streams-") as state:
        target = ("graphs.agg_router:Frontend", "configs/agg_router.yaml")
        async with running(*target, *settings, DYN_LOCAL_STATE_DIR=state, DYN_LOG="warning") as (graph, url):
            watch = Watch({name: process.pid for name, process in graph.processes.items()})
            return await _phases(int(url.rpartition(":")[2]), watch, streams, minutes, seed)


async def _phases(port: int, watch: Watch, streams: int, minutes: float, seed: int) -> dict[str, Any]:
    clients = Clients(port, seed)
    end, surplus_ends = asyncio.Event(), asyncio.Event()
    report: dict[str, Any] = {"streams": streams, "minutes": minutes, "findings": []}
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch.run())
        for number in range(streams):
            group.create_task(clients.keep_asking(number, end))
            await asyncio.sleep(5.0 / streams)
        await asyncio.sleep(15.0)
        warm = len(watch.samples) - 1
        report["steady"] = await _stretch(clients, watch, 60.0 * minutes)
        report["findings"] += watch.grown(warm + (len(watch.samples) - warm) // 3, len(watch.samples) - 1)
        surplus = [
            group.create_task(clients.keep_asking(number, surplus_ends)) for number in range(streams, streams * 3 // 2)
        ]
        report["overload"] = await _stretch(clients, watch, OVERLOAD_S)
        surplus_ends.set()
        await asyncio.wait(surplus)  # those that were let in are served to their end
        await asyncio.sleep(3.0)
        report["recovered"] = await _stretch(clients, watch, RECOVERY_S)
        end.set()
        watching.cancel()
    report["rss_mib"] = watch.over_time()
    report["files"] = {name: most for name, most in _most_files(watch).items() if not name.startswith("worker")}
    for name in ("steady", "overload", "recovered"):
        report["findings"] += [f"{name}: {count} x {what}" for what, count in report[name]["errors"].items()]
    if not report["overload"]["shed"]:
        report["findings"].append("nothing was shed under overload")
    if report["recovered"]["shed"] or report["recovered"]["tokens_per_s"] < 0.8 * report["steady"]["tokens_per_s"]:
        report["findings"].append("it did not recover from the overload")
    return report


async def _stretch(clients: Clients, watch: Watch, seconds: float) -> dict[str, Any]:
    """Count what happens from now on for so long, with the CPU that it took."""
    clients.now = phase = Phase()
    before, began = watch.cpu(), time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    used = {name: spent - before[name] for name, spent in watch.cpu().items()}
    shares: Counter[str] = Counter()
    for name, spent in used.items():
        shares[name.rstrip("0123456789-")] += round(100 * spent / took)  # type: ignore[assignment]
    return {**phase.summary(took), "cpu_percent": dict(shares)}


def _most_files(watch: Watch) -> dict[str, int]:
    return {name: max(sample[name][1] for sample in watch.samples) for name in watch.samples[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--pace", type=float, default=4.0, help="tokens a second that a stream gets at most")
    parser.add_argument("--cores", help="bind everything to these, e.g. 0,1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, {int(core) for core in options.cores.split(",")})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    report = asyncio.run(run(options.streams, options.minutes, options.pace, options.seed))
    text = json.dumps(report, indent=2)
    if options.json:
        options.json.write_text(text)
    print(text)
    return 1 if report["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
