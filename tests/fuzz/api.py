"""`make fuzz`: requests made from the OpenAPI document, thrown at a real daemon over TCP with a token.

Two rounds: one with names made up, one about a graph that exists. Every check of schemathesis holds but
these: that whatever fits the schema is accepted (a graph names directories and interpreters of this machine,
and a cursor is opaque), and in the second round that whatever does not is refused (its names are given).
Exit code: that of schemathesis, or 1 when the daemon's log has a traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from dynamod.api.tokens import add_token
from tests.unit.dynamod.api.graph import submission

ENDLESS = r".*(/stream|/shutdown)$"
ENDLESS_OR_COSTLY = r".*(/stream|/shutdown|/scale)$"
"""Scaling a graph that exists would start up to a thousand processes."""

MADE_UP = """
[checks]
positive_data_acceptance.enabled = false
"""
EXISTING = """
[parameters]
graph = "fuzzed"
project = "default"

[checks]
positive_data_acceptance.enabled = false
negative_data_rejection.enabled = false
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-examples", default="30", help="requests for each operation")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dynamod-fuzz-") as path:
        return _fuzz(Path(path), options.max_examples)


def _fuzz(directory: Path, max_examples: str) -> int:
    token = add_token(directory / "tokens", "fuzz")
    log = directory / "daemon.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "dynamod", "--listen", "127.0.0.1:0", "--token-file", str(directory / "tokens")],
            stderr=output,
            env={**os.environ, "DYN_LOCAL_STATE_DIR": str(directory / "state")},
        )
    url = _address(log, daemon)
    try:
        # A graph without replicas, so that requests about a graph find one.
        _post(f"{url}/v1/graphs", token, json.dumps(submission("fuzzed")).encode())
        codes = [
            _round(directory, url, token, max_examples, MADE_UP, ENDLESS),
            _round(directory, url, token, max_examples, EXISTING, ENDLESS_OR_COSTLY),
        ]
        tracebacks = log.read_text().count("Traceback")
        sys.stdout.write(f"tracebacks in the daemon's log: {tracebacks}\n")
        return max(codes) or (1 if tracebacks else 0)
    finally:
        if daemon.poll() is None:
            _post(f"{url}/v1/shutdown?stop_graphs=true", token, b"")
        daemon.wait(60)


def _round(directory: Path, url: str, token: str, max_examples: str, config: str, excluded: str) -> int:
    file = directory / "schemathesis.toml"
    file.write_text(config)
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(file), "run"]
    command += [f"{url}/openapi.json", "--header", f"Authorization: Bearer {token}", "--max-examples", max_examples]
    command += ["--exclude-path-regex", excluded, "--request-timeout", "20"]
    root = Path(__file__).parents[2]
    hooks = {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(root)}
    return subprocess.run(command, check=False, cwd=directory, env={**os.environ, **hooks}).returncode


def _address(log: Path, daemon: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and daemon.poll() is None:
        for line in log.read_text().splitlines():
            if "listening on 127.0.0.1:" in line:
                return f"http://127.0.0.1:{line.rpartition(':')[2]}"
        time.sleep(0.05)
    raise SystemExit(f"the daemon did not start:\n{log.read_text()}")


def _post(url: str, token: str, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers, method="POST"), timeout=60):
        pass


if __name__ == "__main__":
    sys.exit(main())
