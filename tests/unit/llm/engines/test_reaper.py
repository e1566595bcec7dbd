"""A worker that is killed must not leave its engine's processes behind, whatever session they are in."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

WORKER = """
import subprocess, sys, time
from dynamo.llm.engines.reaper import Reaper
reaper = Reaper()
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
print(child.pid, flush=True)
if "close" in sys.argv:
    reaper.kill_now()
    reaper.close()
else:
    time.sleep(300)
"""


def gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_killing_the_worker_takes_its_detached_children_along() -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        child = int(worker.stdout.readline())
        assert psutil.pid_exists(child)
        worker.kill()
    assert gone(child, 30)


def test_an_orderly_stop_leaves_nothing_either() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, "close"], capture_output=True, text=True, timeout=30, check=True
    )
    assert gone(int(done.stdout), 5)
