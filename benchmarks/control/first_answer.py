"""From `dynamo serve hello_world:Frontend` to its first good answer, as someone at a prompt sees it.

    python -m benchmarks.control.first_answer [--rounds 5] [--real-time]

Wall time from the command to `Frontend: Middle: Backend: test-mid-back`, beside the CPU time of all processes of the
run, its end included. On a busy machine `--real-time` (for root) puts all of them into the kernel's round-robin class,
ahead of whatever else runs: two cores of one's own, as far as their caches allow.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello_world"
COMMAND = Path(sys.executable).with_name("dynamo")
ANSWER = b"Frontend: Middle: Backend: test-mid-back"
DEADLINE_S = 60.0
POLL_S = 0.01


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answered(port: int) -> bool:
    """Whether the graph answers well by now."""
    with suppress(OSError, http.client.HTTPException), closing(http.client.HTTPConnection("127.0.0.1", port)) as link:
        link.request("POST", "/generate", json.dumps({"text": "test"}), {"content-type": "application/json"})
        return ANSWER in link.getresponse().read()
    return False


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_answer() -> tuple[float, float]:
    """Seconds to the first good answer, and CPU seconds of the whole run, its end included."""
    port, before, begun = free_port(), children_cpu(), time.perf_counter()
    serve = subprocess.Popen(
        [COMMAND, "serve", "hello_world:Frontend", "-p", str(port)],
        cwd=EXAMPLE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not answered(port):
            if serve.poll() is not None or time.perf_counter() - begun > DEADLINE_S:
                raise SystemExit("hello world did not answer")
            time.sleep(POLL_S)
        took = time.perf_counter() - begun
    finally:
        serve.send_signal(signal.SIGTERM)
        serve.wait(DEADLINE_S)
    return took, children_cpu() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--real-time", action="store_true")
    options = parser.parse_args()
    if options.real_time:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    rounds = []
    for _ in range(options.rounds):
        took, cpu = first_answer()
        rounds.append(took)
        print(f"first answer after {took:.2f} s; CPU of all processes {cpu:.2f} s")
    print(f"first answer: median {statistics.median(rounds):.2f} s ({min(rounds):.2f}-{max(rounds):.2f})")


if __name__ == "__main__":
    main()
