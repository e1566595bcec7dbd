"""Hello world built, made into an image, and deployed as containers: how long, and how large.

    python -m benchmarks.control.build_to_docker --base-image IMAGE [--rounds 5]

The daemon runs, and a first round of everything warms the caches. `build` is the whole command, with the archive handed
to the daemon; of the image its size over its base is told; `deploy` is from `dynamoctl deploy … --target docker` to the
first good answer, each round under a name of its own.
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
from collections.abc import Sequence

import docker
from benchmarks.control.deploy_to_answer import EXAMPLE, until_answered

IMAGE = "dynamod-benchmark/hello:1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--base-image", required=True)
    asked = parser.parse_args()
    engine = docker.from_env()
    with tempfile.TemporaryDirectory() as state:
        environ = {**os.environ, "DYN_LOCAL_STATE_DIR": state}

        def dynamoctl(*arguments: str) -> str:
            command = [sys.executable, "-m", "dynamo_tui.cli", *arguments]
            done = subprocess.run(
                command,
                cwd=EXAMPLE,
                env=environ,
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            return done.stdout

        dynamoctl("daemon", "start")
        try:
            builds, deploys = [], []
            for number in range(asked.rounds + 1):
                begun = time.perf_counter()
                dynamoctl("build", "hello_world:Frontend", "-t", f"hello:{number}")
                builds.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            made = json.loads(
                dynamoctl("containerize", "hello:0", "--image", IMAGE, "--base-image", asked.base_image, "--json")
            )
            image_s = time.perf_counter() - begun
            over = made["size"] - engine.images.get(asked.base_image).attrs["Size"]
            for number in range(asked.rounds + 1):
                name = f"hello-{number}"
                begun = time.perf_counter()
                shown = json.loads(
                    dynamoctl("deploy", "hello:0", "--target", "docker", "-n", name, "-p", "0", "--json")
                )
                until_answered(shown["address"])
                deploys.append(time.perf_counter() - begun)
                dynamoctl("rm", name, "--wait")
        finally:
            dynamoctl("daemon", "stop")
            if engine.images.list(name=IMAGE):
                engine.images.remove(IMAGE, force=True)
            engine.close()
    _tell("build", builds)
    sys.stdout.write(f"image: {over / 1e6:.1f} MB over its base, made in {image_s:.1f} s\n")
    _tell("deploy to first answer", deploys)


def _tell(what: str, taken: Sequence[float]) -> None:
    """The first of `taken` warmed up."""
    warm = taken[1:]
    sys.stdout.write(f"{what}: median {statistics.median(warm):.2f} s, {min(warm):.2f} to {max(warm):.2f} s\n")


if __name__ == "__main__":
    main()
