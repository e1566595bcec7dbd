"""Run directories that lie apart from their state directory, under /tmp: none is left behind for ever.

A state directory whose path is too long for a socket has its sockets in `/tmp/dynamod-<uid>-<hash>`. A file in there
names the state directory, so that whoever comes by later can tell whether anybody may still need it.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from dynamod.drivers.environment import is_sockets_dir, sockets_dir
from dynamod.schema.locations import Locations, short_run_dirs

STATE_FILE = "state-dir"
OLD_S = 3600.0
"""Seconds after which one that names no state directory, and that nobody listens in, is taken for left behind."""
PROBE_S = 0.2


def claim(where: Locations) -> None:
    """Say in a run directory that lies apart whose it is."""
    if where.run_dir_is_apart:
        (where.run_dir / STATE_FILE).write_bytes(os.fsencode(where.state_dir))


def tidy(where: Locations, known: Iterable[str]) -> None:
    """Remove the socket directories of all replicas but the `known`: an engine was killed before it could."""
    kept = {sockets_dir(where, replica_id) for replica_id in known}
    for directory in where.run_dir.iterdir():
        if is_sockets_dir(directory) and directory not in kept:
            shutil.rmtree(directory, ignore_errors=True)


def leave(where: Locations) -> None:
    """Remove a run directory that lies apart, unless a socket or a replica's directory is in it."""
    if not where.run_dir.is_dir():
        return
    if where.run_dir_is_apart and {path.name for path in where.run_dir.iterdir()} <= {STATE_FILE}:
        shutil.rmtree(where.run_dir, ignore_errors=True)


def sweep(now: float | None = None) -> list[Path]:
    """Remove run directories of ours under /tmp whose state directory is gone and in which nobody listens."""
    now = time.time() if now is None else now
    swept = []
    for directory in short_run_dirs(os.getuid()):
        with suppress(OSError):
            if _is_left_behind(directory, now):
                shutil.rmtree(directory)
                swept.append(directory)
    return swept


def _is_left_behind(directory: Path, now: float) -> bool:
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return False
    try:
        if Path(os.fsdecode((directory / STATE_FILE).read_bytes())).exists():
            return False
    except FileNotFoundError:
        if status.st_mtime > now - OLD_S:
            return False
    return not any(map(_is_served, _sockets(directory)))


def _sockets(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode))


def _is_served(path: Path) -> bool:
    """Whether somebody listens there; a full queue is somebody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
