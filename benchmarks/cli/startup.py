"""How long commands take to start: whole processes, timed from outside, in turns with a bare interpreter.

    python -m benchmarks.cli.startup [RUNS]

A daemon without graphs answers `ps`. Wall time is what a person waits; CPU time (user and system, of the whole
process) says the same on a box that is not idle.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DYNAMOCTL = str(Path(sys.executable).with_name("dynamoctl"))
COMMANDS = {
    "bare interpreter": [sys.executable, "-c", "pass"],
    "import click": [sys.executable, "-c", "import click"],
    "dynamoctl --help": [DYNAMOCTL, "--help"],
    "dynamoctl ps": [DYNAMOCTL, "ps"],
    "dynamoctl ps --json": [DYNAMOCTL, "ps", "--json"],
}


def once(command: list[str], environ: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    began = time.perf_counter()
    pid = os.posix_spawn(
        command[0],
        command,
        environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)],
    )
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"{command} failed")
    return wall, usage.ru_utime + usage.ru_stime


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with tempfile.TemporaryDirectory(prefix="dyn-") as state_dir:
        environ = os.environ | {"DYN_LOCAL_STATE_DIR": state_dir}
        subprocess.run([DYNAMOCTL, "daemon", "start"], env=environ, check=True, stdout=subprocess.DEVNULL)
        try:
            figures: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
            for round_number in range(runs + 1):
                for name, command in COMMANDS.items():
                    figure = once(command, environ)
                    if round_number:  # the first round warms the file cache
                        figures[name].append(figure)
        finally:
            subprocess.run([DYNAMOCTL, "daemon", "stop"], env=environ, check=True, stdout=subprocess.DEVNULL)
    print(f"{'':20} {'wall ms: min, median, max':>30} {'CPU ms: median':>16}")
    for name, pairs in figures.items():
        wall = sorted(1000 * w for w, _ in pairs)
        cpu = statistics.median(1000 * c for _, c in pairs)
        print(f"{name:20} {wall[0]:10.0f}{statistics.median(wall):10.0f}{wall[-1]:10.0f} {cpu:16.0f}")


if __name__ == "__main__":
    main()
