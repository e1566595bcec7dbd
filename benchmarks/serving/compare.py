"""Both frontends under the same load: `python -m benchmarks.serving.compare`.

Alternating runs of the same load generator; medians, and the spread of the ratio of each pair. Both sides: one
model directory, two simulated workers at speed-up 10,000, KV routing, chats of about 256 prompt tokens and 64 out.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics

from benchmarks.peer import VERSION
from benchmarks.serving.ours import measure, ours
from benchmarks.serving.theirs import theirs

SHOWN = (
    "requests_per_s",
    "ttft_p50_ms",
    "ttft_p99_ms",
    "total_p50_ms",
    "frontend_cpu_us_per_token",
    "all_cpu_us_per_token",
)


async def pairs(requests: int, count: int, graph: str, *, clients: int = 1, rate: float = 0.0) -> None:
    """Alternating runs: `clients` in a closed loop, or `rate` requests a second."""
    results: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
    async with ours(graph=graph) as mine, theirs() as peer:
        sides = {"ours": mine, "theirs": peer}
        for side in sides.values():
            await measure(side, clients=16, requests=64, seed=99)  # warm-up
        for pair in range(count):
            for name, side in sides.items():
                figures = await measure(side, clients=clients, requests=requests, seed=pair, rate=rate)
                if figures["errors"]:
                    raise RuntimeError(f"{name}: {figures['errors']} requests failed")
                results[name].append(figures)
    offered = f"{rate:g} requests/s" if rate else f"{clients} clients"
    print(f"\n{offered}, {requests} requests, {count} pairs")
    print(f"{'':28}{'ours':>12}{'theirs':>12}   ratio (min … max)")
    for key in SHOWN:
        mine_, theirs_ = ([run[key] for run in results[name]] for name in ("ours", "theirs"))
        ratios = sorted(a / b for a, b in zip(mine_, theirs_, strict=True))
        print(
            f"{key:28}{statistics.median(mine_):12.2f}{statistics.median(theirs_):12.2f}"
            f"   {statistics.median(ratios):.2f} ({ratios[0]:.2f} … {ratios[-1]:.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 16, 64])
    parser.add_argument("--rates", type=float, nargs="*", default=[100, 250], help="requests a second, open loop")
    parser.add_argument("--graph", default="graphs.agg_router:Frontend")
    given = parser.parse_args()
    print(f"CPython {platform.python_version()}, {platform.machine()}, ai-dynamo {VERSION}")
    for clients in given.clients:
        asyncio.run(pairs({1: 40, 16: 256}.get(clients, 512), given.pairs, given.graph, clients=clients))
    for rate in given.rates:
        asyncio.run(pairs(int(4 * rate), given.pairs, given.graph, rate=rate))


if __name__ == "__main__":
    main()
