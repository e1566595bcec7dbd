"""Kills what a dead worker left behind.

An engine's helper processes may live in sessions of their own and survive a worker that is killed. The worker
starts this program with a pipe as standard input and a mark in its environment, which every process it
starts inherits. When the pipe closes, the worker is gone: whatever bears the mark is killed.

Run as `python -m dynamo.llm.engines.reaper MARK`; standard library only, Linux only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

VARIABLE = "DYN_ENGINE_MARK"
GRACE = 5.0
"""Seconds for helpers that notice the death of their parent by themselves."""


class Reaper:
    """The worker's end. Make it before the engine; `close` after the engine has stopped."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        os.environ[VARIABLE] = self.mark
        self._process = subprocess.Popen(
            [sys.executable, "-S", __file__, self.mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={key: value for key, value in os.environ.items() if key != VARIABLE},
            start_new_session=True,
        )

    def kill_now(self) -> list[int]:
        """Kill marked processes other than this one and its multiprocessing tracker; the pids."""
        from multiprocessing import resource_tracker

        tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
        return kill_marked(self.mark, spare=tracker)

    def close(self) -> None:
        """End the reaper: the worker has cleaned up by itself."""
        os.environ.pop(VARIABLE, None)
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def marked(mark: str) -> list[int]:
    """Pids of processes that carry the mark, without the calling one."""
    wanted = f"{VARIABLE}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


def kill_marked(mark: str, spare: int | None = None) -> list[int]:
    killed = []
    for pid in marked(mark):
        if pid == spare:
            continue
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        killed.append(pid)
    return killed


def main(mark: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    deadline = time.monotonic() + GRACE
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    kill_marked(mark)


if __name__ == "__main__":
    main(sys.argv[1])
