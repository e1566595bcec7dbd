"""CPU, memory and file descriptors of this process, read from /proc when somebody asks (proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

from dynamo.runtime.metrics import Registry

_STAT = Path("/proc/self/stat")
_FDS = Path("/proc/self/fd")
_SYSTEM_STAT = Path("/proc/stat")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

# Positions in /proc/<pid>/stat counted from the field after the command's closing parenthesis.
_UTIME, _STIME, _START, _RSS = 11, 12, 19, 21


def add_process_metrics(registry: Registry) -> None:
    """Idempotent. Nothing is added where there is no /proc."""
    if not _STAT.exists():
        return
    registry.counter("process_cpu_seconds_total", "User and system CPU time.").labels().set_function(_cpu_seconds)
    registry.gauge("process_resident_memory_bytes", "Resident memory.").labels().set_function(_resident_bytes)
    registry.gauge("process_open_fds", "Open file descriptors.").labels().set_function(_open_fds)
    start = _boot_time() + int(_fields()[_START]) / _TICKS
    registry.gauge("process_start_time_seconds", "Start of the process, Unix time.").labels().set(start)


def _fields() -> list[str]:
    return _STAT.read_text().rpartition(")")[2].split()


def _cpu_seconds() -> float:
    fields = _fields()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS


def _resident_bytes() -> float:
    return float(int(_fields()[_RSS]) * _PAGE)


def _open_fds() -> float:
    return float(sum(1 for _ in _FDS.iterdir()))


def _boot_time() -> float:
    for line in _SYSTEM_STAT.read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
