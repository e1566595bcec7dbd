"""Which process is which: (pid, start time, boot id) tells a process from a later one with the same pid."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

Record = TypeVar("Record")


class RunRecord(msgspec.Struct, frozen=True):
    """What a shim wrote when its replica ran (`run-<n>.json`). Start times are clock ticks since boot."""

    run: int
    shim_pid: int
    shim_start: int
    pid: int
    start: int
    boot_id: str
    at: float


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


def read_run(replica_dir: Path, run: int) -> RunRecord | None:
    return _read(replica_dir / f"run-{run}.json", RunRecord)


def read_exit(replica_dir: Path, run: int) -> ExitRecord | None:
    return _read(replica_dir / f"exit-{run}.json", ExitRecord)


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
