"""Which process is which: (pid, start time, boot id) tells a process from a later one with the same pid."""

from __future__ import annotations

import os
import signal
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from dynamo.sdk.spec import UNREADABLE

Record = TypeVar("Record")

_OWNER = b"DYN_REPLICA_ID="


class RunRecord(msgspec.Struct, frozen=True):
    """What a shim wrote when its replica ran (`run-<n>.json`). Start times are clock ticks since boot.

    `cgroup` is the control group of the run; empty where there is none. `line` is the first line of its log.
    """

    run: int
    shim_pid: int
    shim_start: int
    pid: int
    start: int
    boot_id: str
    at: float
    cgroup: str = ""
    line: int = 0


class ExitRecord(msgspec.Struct, frozen=True):
    """What a shim wrote when its replica had ended (`exit-<n>.json`)."""

    code: int | None
    signal: int
    spawned: bool
    oom_kills: int
    at: float


@cache
def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which this process started; None when there is none, or only a zombie of it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def open_process(pid: int, start: int, boot: str) -> int | None:
    """A pidfd of exactly that process, or None when it is gone. Checked again after opening: no reuse can slip in."""
    if boot != boot_id() or start_time(pid) != start:
        return None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if start_time(pid) != start:
        os.close(fd)
        return None
    return fd


def owner_of(pid: int) -> str | None:
    """The replica whose environment a process has inherited; None for a process that is not ours, or not visible."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next(
        (entry[len(_OWNER) :].decode(errors="replace") for entry in variables if entry.startswith(_OWNER)), None
    )


def kill_descendants(replica_id: str) -> int:
    """Kill what an ended replica left behind outside of its process group (daemons of its own); how many there were."""
    killed = 0
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or owner_of(pid := int(entry.name)) != replica_id:
            continue
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            if owner_of(pid) == replica_id:  # asked again: the pid cannot have been reused since the pidfd was opened
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                killed += 1
        except ProcessLookupError:
            pass
        finally:
            os.close(fd)
    return killed


def read_run(replica_dir: Path, run: int) -> RunRecord | None:
    return _read(replica_dir / f"run-{run}.json", RunRecord)


def read_exit(replica_dir: Path, run: int) -> ExitRecord | None:
    return _read(replica_dir / f"exit-{run}.json", ExitRecord)


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, *UNREADABLE):
        return None
