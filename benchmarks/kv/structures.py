"""Router structures beside NVIDIA's bindings: `python -m benchmarks.kv.structures [--pairs 5] [--one-core] [--cpu]`.

Each side runs in a process of its own, ours and the peer's in turn; the median of the pairs' ratios is the figure.
The peer keeps its tree on a thread of its own: `--one-core` pins both sides to one core, which spares it the
crossing (its better case). `--cpu` counts CPU time of all threads instead of the wall's, for a box that is not idle;
it leaves out what the peer's caller spends waiting.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.peer import VERSION, peer_python

HERE = Path(__file__).parent


def measure(python: str, script: str, *, one_core: bool, cpu: bool) -> dict[str, float]:
    """Raises subprocess.CalledProcessError when a side fails."""
    pin = (lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})) if one_core else None
    done = subprocess.run(
        [python, str(HERE / script)],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=pin,
        timeout=600,
        env={**os.environ, "BENCHMARK_CLOCK": "cpu" if cpu else "wall"},
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--one-core", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    arguments = parser.parse_args()
    how = {"one_core": arguments.one_core, "cpu": arguments.cpu}
    theirs_python = peer_python()
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    for _ in range(arguments.pairs):
        ours.append(measure(sys.executable, "side_ours.py", **how))
        theirs.append(measure(theirs_python, "side_peer.py", **how))
    print(f"{arguments.pairs} alternating pairs, {how}; peer: ai-dynamo-runtime {VERSION}\n")
    print("| Work (µs, or blocks/s, or bytes) | Ours | Peer | Ratio (lowest to highest) |")
    print("| --- | --- | --- | --- |")
    for name in ours[0]:
        mine = statistics.median(run[name] for run in ours)
        # From packed ids or a decoded event, the peer's way still begins with a list, or with its own event.
        base = name.removesuffix(", packed") + (", list" if name.startswith("hash") and "packed" in name else "")
        base = base.replace("from the engine on", "at the router")
        if base not in theirs[0]:
            print(f"| {name} | {shown(mine)} | - | - |")
            continue
        ratios = sorted(a[name] / b[base] for a, b in zip(ours, theirs, strict=True))
        peer = statistics.median(run[base] for run in theirs)
        print(
            f"| {name} | {shown(mine)} | {shown(peer)} | "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
        )


def shown(value: float) -> str:
    if value >= 1e5:
        return f"{value / 1e6:.2f} M"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


if __name__ == "__main__":
    main()
