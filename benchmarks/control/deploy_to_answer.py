"""From `dynamoctl deploy` of hello world's build, on a cluster, to the first good answer.

    KUBECONFIG=… python -m benchmarks.control.deploy_to_answer --image IMAGE --etcd etcd://HOST:2379 [--rounds 5]

The daemon runs and keeps the build already; the nodes have the image (of the SDK and the example). Each round deploys
under a name of its own, so that no pod is left to wait for. Answers are asked for at the address that the deployment
tells, from the moment it tells it. Whatever follows `--` goes to `deploy` as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello_world"
DEADLINE_S = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image", required=True)
    parser.add_argument("--etcd", required=True)
    parser.add_argument("more", nargs="*", metavar="-- OPTIONS")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        environ = {**os.environ, "DYN_LOCAL_STATE_DIR": state, "PYTHONPATH": str(EXAMPLE)}

        def dynamoctl(*arguments: str) -> str:
            command = [sys.executable, "-m", "dynamo_tui.cli", *arguments]
            done = subprocess.run(command, cwd=EXAMPLE, env=environ, check=True, stdout=subprocess.PIPE, text=True)
            return done.stdout

        dynamoctl("daemon", "start")
        try:
            dynamoctl("build", "hello_world:Frontend", "-t", "hello:1")
            there = ["--target", "kubernetes", "--image", asked.image, "--etcd", asked.etcd, *asked.more]
            taken = []
            for number in range(asked.rounds + 1):
                begun = time.perf_counter()
                shown = json.loads(dynamoctl("deploy", "hello:1", "-n", f"hello-{number}", *there, "--json"))
                until_answered(shown["address"])
                took = time.perf_counter() - begun
                sys.stdout.write(f"{'warm-up' if number == 0 else 'round'} {took:.2f} s\n")
                taken += [took] if number else []
                dynamoctl("deployment", "delete", f"hello-{number}", "--no-wait")
            sys.stdout.write(f"median {statistics.median(taken):.2f} s, {min(taken):.2f} to {max(taken):.2f} s\n")
        finally:
            dynamoctl("daemon", "stop")


def until_answered(address: str) -> None:
    request = urllib.request.Request(
        f"{address}/generate", json.dumps({"text": "a"}).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                if answer.read() == b"Frontend: Middle: Backend: a-mid-back":
                    return
        except (urllib.error.URLError, OSError):
            pass
        if time.monotonic() > deadline:
            raise SystemExit(f"{address} gave no answer within {DEADLINE_S:.0f} s")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
