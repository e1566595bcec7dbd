"""Alternating runs of both sides on the same work, and what comes out: medians and the spread of the ratio."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.runtime.sides import Side, ours, peer


@dataclass(frozen=True)
class Work:
    """One row: `name` and `concurrency` of a work, what to read of its figures, and the ratio that is asked for.

    `higher`: whether more is better. The ratio is always "how many times better than the peer".
    """

    title: str
    name: str
    concurrency: int
    figure: str
    unit: str
    target: float
    higher: bool = True
    tcp: bool = False


def main(description: str, works: list[Work]) -> None:
    """Parse the arguments, run every work and print the table."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pairs", type=int, default=5, help="alternating pairs of runs")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    parser.add_argument("--no-peer", action="store_true", help="measure our side alone")
    arguments = parser.parse_args()
    asyncio.run(_run(works, arguments.pairs, arguments.seconds, with_peer=not arguments.no_peer))


async def _run(works: list[Work], pairs: int, seconds: float, *, with_peer: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        sides: dict[str, Side] = {}
        if any(not work.tcp for work in works):
            sides["unix"] = await stack.enter_async_context(ours())
        if any(work.tcp for work in works):
            sides["tcp"] = await stack.enter_async_context(ours(tcp=True))
        if with_peer:
            try:
                sides["peer"] = await stack.enter_async_context(peer())
            except (subprocess.CalledProcessError, OSError, RuntimeError) as error:
                print(f"the peer is missing ({error}): measuring our side alone\n")
        print("| Work | Ours | Peer | Ratio (median, min-max of the pairs) | Target |\n| --- | --- | --- | --- | --- |")
        done: dict[tuple[str, int, bool], list[tuple[dict[str, float], dict[str, float]]]] = {}
        for work in works:
            key = (work.name, work.concurrency, work.tcp)
            if key not in done:
                done[key] = await _pairs(work, sides, pairs, seconds)
            print(_row(work, done[key]), flush=True)


async def _pairs(
    work: Work, sides: dict[str, Side], pairs: int, seconds: float
) -> list[tuple[dict[str, float], dict[str, float]]]:
    ours_side, peer_side = sides["tcp" if work.tcp else "unix"], sides.get("peer")
    results = []
    for number in range(-1, pairs):  # the first pair warms up and does not count
        length = 0.5 if number < 0 else seconds
        mine = await ours_side.do(work.name, work.concurrency, length)
        theirs = await peer_side.do(work.name, work.concurrency, length) if peer_side else {}
        if number >= 0:
            results.append((mine, theirs))
    return results


def _row(work: Work, results: list[tuple[dict[str, float], dict[str, float]]]) -> str:
    mine = statistics.median(own[work.figure] for own, _ in results)
    asked = f"{'≥' if work.target else ''} {work.target:g}×" if work.target else ""
    if not results[0][1]:
        return f"| {work.title} | {_number(mine)} {work.unit} | | | {asked} |"
    theirs = statistics.median(other[work.figure] for _, other in results)
    better: Callable[[float, float], float] = (lambda a, b: a / b) if work.higher else (lambda a, b: b / a)
    ratios = [better(own[work.figure], other[work.figure]) for own, other in results]
    spread = f"{statistics.median(ratios):.1f}× ({min(ratios):.1f}-{max(ratios):.1f})"
    return f"| {work.title} | {_number(mine)} {work.unit} | {_number(theirs)} {work.unit} | {spread} | {asked} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
