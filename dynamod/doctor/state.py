"""The state directory: may we use it, is it private, is there room, does its clock agree with ours?"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from dynamod.doctor.findings import fail, ok, warn
from dynamod.schema.doctor import Finding
from dynamod.schema.locations import Locations

LITTLE = 2 << 30
"""Bytes. Logs alone may take 128 MiB a replica."""
TOO_LITTLE = 200 << 20
"""Bytes. The database's backup and a replica's log may need more than is left below this."""
SKEW = 2.0
"""Seconds between our clock and the file system's that are still taken for the coarseness of time stamps."""


def check_directory(where: Locations) -> Finding:
    """It can be written, or made, and belongs to us alone."""
    name = "state directory"
    path = where.state_dir
    elsewhere = "mend its permissions, or choose another: DYN_LOCAL_STATE_DIR"
    try:
        status = path.stat()
    except FileNotFoundError:
        parent = _existing(path)
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            return fail(name, f"{path} does not exist and cannot be made in {parent}", elsewhere)
        return ok(name, f"{path} does not exist yet and can be made")
    except OSError as error:
        return fail(name, f"{path}: {error.strerror}", elsewhere)
    if not stat.S_ISDIR(status.st_mode):
        return fail(name, f"{path} is no directory", "move it away, or choose another: DYN_LOCAL_STATE_DIR")
    if status.st_uid != os.getuid():
        return fail(name, f"{path} belongs to user {status.st_uid}, not to {os.getuid()}", elsewhere)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return fail(name, f"{path} may not be read and written", f"chmod 700 {path}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return warn(name, f"others may write {path}", f"chmod 700 {path}")
    return ok(name, str(path))


def check_disk(where: Locations, *, little: int = LITTLE, too_little: int = TOO_LITTLE) -> Finding:
    """Free bytes and free files where the state is, or will be."""
    place = _existing(where.state_dir)
    try:
        usage, files = shutil.disk_usage(place), os.statvfs(place)
    except OSError as error:
        return fail("disk", f"{place}: {error.strerror}", "mend the file system, or set DYN_LOCAL_STATE_DIR")
    what = f"{_gib(usage.free)} free of {_gib(usage.total)} at {place}"
    remedy = "make room (replicas/<id>/log/ holds logs; builds/ holds archives), or set DYN_LOCAL_STATE_DIR"
    if files.f_files and not files.f_favail:
        return fail("disk", f"no file can be made at {place}: its inodes are used up", remedy)
    if usage.free < too_little:
        return fail("disk", what, remedy)
    return warn("disk", what, remedy) if usage.free < little else ok("disk", what)


def check_clock(where: Locations) -> Finding:
    """Events, logs and leases carry times: the clock must be near the file system's, and go forward."""
    name = "clock"
    now, ticks = time.time(), time.monotonic()
    place = _existing(where.state_dir)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
            file.flush()
            skew = os.fstat(file.fileno()).st_mtime - now
    except OSError:
        return _compare(name, 0.0, now, ticks, f"the file system's could not be compared: {place} is not writable")
    return _compare(name, skew, now, ticks, "it agrees with the file system's")


def _compare(name: str, skew: float, began: float, ticks: float, what: str) -> Finding:
    set_it = "set the clock (timedatectl set-ntp true), on the file server too where the directory is remote"
    passed, went = time.monotonic() - ticks, time.time() - began
    if abs(went - passed) > SKEW:
        return fail(name, f"it jumped by {went - passed:.1f} s while {passed:.1f} s passed", set_it)
    if abs(skew) > SKEW:
        return warn(name, f"the file system's clock differs from ours by {skew:.1f} s", set_it)
    return ok(name, what)


def _existing(path: Path) -> Path:
    """The path itself, or the nearest directory above it that exists."""
    for place in (path, *path.parents):
        try:
            if place.exists():
                return place
        except OSError:
            continue
    return Path("/")


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
