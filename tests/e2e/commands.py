"""Running the real `dynamoctl` as a user does, in a home of its own."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
COMMAND_TIMEOUT_S = 180.0


@dataclass
class Home:
    """A state directory of its own, and the commands that are run in it."""

    path: Path
    python: str = sys.executable
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DYN", "XDG_", "PYTEST"))}
        return kept | {"HOME": str(self.path), "DYN_LOCAL_STATE_DIR": str(self.path / "state")} | self.extra

    def run(
        self, *arguments: str, cwd: Path | None = None, code: int | None = 0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `dynamoctl`; its exit code must be `code` unless that is None."""
        done = subprocess.run(
            [self.python, "-m", "dynamo_tui.cli", *arguments],
            cwd=cwd or self.path,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"dynamoctl {arguments} exited {done.returncode}: {done.stderr}{self.log()}"
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    @contextmanager
    def running(self, *arguments: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
        """A `dynamoctl` that runs while the test does; it is killed at the end if it still does."""
        process = subprocess.Popen(
            [self.python, "-m", "dynamo_tui.cli", *arguments],
            cwd=cwd or self.path,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=COMMAND_TIMEOUT_S)

    def log(self) -> str:
        """What the daemon has written, for messages of failures."""
        path = self.path / "state" / "dynamod.log"
        return f"\n--- dynamod.log\n{path.read_text()[-4000:]}" if path.exists() else ""


def until(condition: Callable[[], T | None], *, timeout: float = 120.0, what: str = "the condition") -> T:
    """The first truthy value of `condition`, which is asked again and again until the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout:g} s"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


class Http:
    """One keep-alive connection to a graph's HTTP face."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)

    def post(self, path: str, body: Any) -> tuple[int, str]:
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode()

    def close(self) -> None:
        self._connection.close()
