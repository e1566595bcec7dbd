"""One frontend process and several that share its port: `python -m benchmarks.serving.processes`.

The same load (64 clients, a closed loop) on the routed example with one and with two frontends and processors, in
alternating runs. The kernel spreads connections over the processes that listen on one port. What it shows depends on
the cores: a second process adds throughput where a core is free for it, and must cost no CPU per token anywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from contextlib import AsyncExitStack

from benchmarks.serving.ours import Side, measure, ours


def of_each(side: Side) -> dict[int, float]:
    """Seconds of CPU of the HTTP processes, which are those that listen on the side's port."""
    listening = [p for p in side.frontend if "Frontend" in p.cmdline()]
    return {process.pid: sum(process.cpu_times()[:2]) for process in listening}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--clients", type=int, default=64)
    given = parser.parse_args()
    async with AsyncExitStack() as stack:
        sides = {
            count: await stack.enter_async_context(
                ours(f"--Frontend.ServiceArgs.workers={count}", f"--Processor.ServiceArgs.workers={count}")
            )
            for count in given.processes
        }
        figures: dict[int, list[dict[str, float]]] = {count: [] for count in sides}
        shares: dict[int, list[float]] = {count: [] for count in sides}
        for pair in range(given.pairs + 1):
            for count, side in sides.items():
                before = of_each(side)
                found = await measure(side, clients=given.clients, requests=512, seed=pair)
                if found["errors"]:
                    raise RuntimeError(f"{found['errors']} requests failed")
                spent = [after - before[pid] for pid, after in of_each(side).items()]
                if pair:  # the first is the warm-up
                    figures[count].append(found)
                    shares[count].append(max(spent) / sum(spent))
    print(f"{os.cpu_count()} cores, {given.clients} clients, {given.pairs} runs of 512 requests each")
    for count, runs in figures.items():
        rate, cpu, ttft = (
            statistics.median(run[key] for run in runs)
            for key in ("requests_per_s", "frontend_cpu_us_per_token", "ttft_p50_ms")
        )
        print(
            f"{count} frontend processes: {rate:.0f} requests/s, TTFT p50 {ttft:.1f} ms, {cpu:.1f} us of CPU a token; "
            f"the busiest did {statistics.median(shares[count]):.0%} of the HTTP side's work"
        )


if __name__ == "__main__":
    asyncio.run(main())
