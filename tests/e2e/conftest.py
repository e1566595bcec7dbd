from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.commands import Home


@pytest.fixture
def home() -> Iterator[Home]:
    """A home whose daemon and graphs are stopped at the end, whatever the test did to them."""
    path = Path(tempfile.mkdtemp(prefix="dyn-e2e-"))
    home = Home(path)
    try:
        yield home
    finally:
        home.run("daemon", "stop", "--stop-graphs", code=None)
        leftover = kill_leftovers(path)
        shutil.rmtree(path, ignore_errors=True)
        assert not leftover, f"processes outlived the daemon that stopped all graphs: {leftover}"


GOING_S = 5.0
"""How long a process that was told to end may still be seen."""


def kill_leftovers(path: Path) -> list[str]:
    """End every process that was started with this home as its state directory; return their command lines."""
    deadline = time.monotonic() + GOING_S
    while (found := _started_in(path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in found:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return list(found.values())


def _started_in(path: Path) -> dict[int, str]:
    wanted = f"DYN_LOCAL_STATE_DIR={path}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found
