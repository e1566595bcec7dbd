"""Unix sockets and the daemon behind them: where they lie, who serves them, and what was left behind."""

from __future__ import annotations

import errno
import os
import socket
import stat
from enum import Enum
from pathlib import Path

import msgspec

from dynamo.sdk.spec import UNREADABLE
from dynamod.doctor.findings import fail, ok, warn
from dynamod.schema.doctor import Finding
from dynamod.schema.flocks import PROC_LOCKS, flock_holders
from dynamod.schema.locations import SUN_PATH_MAX, Locations
from dynamod.schema.serve import ServeRegistration, registrations_dir

PROBE_TIMEOUT = 2.0


class Peer(Enum):
    ABSENT = "absent"
    STALE = "stale"
    SERVED = "served"
    SILENT = "silent"


def check_run_directory(where: Locations) -> Finding:
    """Sockets lie at a path that is short enough, in a directory that is ours alone."""
    name, run = "socket path", where.run_dir
    longest = max(len(os.fsencode(path)) for path in (where.api_socket, where.discovery_socket))
    if longest > SUN_PATH_MAX:
        return fail(name, f"{where.discovery_socket} has {longest} bytes", "set DYN_LOCAL_STATE_DIR to a shorter path")
    moved = "" if run.parent == where.state_dir else f" (the state directory's own path is too long for {run.name})"
    try:
        status = run.lstat()
    except FileNotFoundError:
        return ok(name, f"{longest} bytes, in {run}{moved}")
    except OSError as error:
        return fail(name, f"{run}: {error.strerror}", "mend the permissions of the state directory")
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return fail(
            name, f"{run} is not a directory of ours", "remove it, or set DYN_LOCAL_STATE_DIR to a shorter path"
        )
    if status.st_mode & 0o077:
        return warn(name, f"others may look into {run}", f"chmod 700 {run}")
    return ok(name, f"{longest} bytes, in {run}{moved}")


def check_daemon(where: Locations) -> Finding:
    """At most one daemon uses the state directory, and if one does, it answers."""
    name = "daemon"
    holder = lock_holder(where.lock_file)
    peer = ask(where.api_socket)
    if peer is Peer.SERVED:
        if holder:
            return ok(name, f"pid {holder} serves {where.api_socket}")
        return fail(
            name, f"{where.api_socket} is served by a program that is no dynamod", "find it (ss -xlp) and stop it"
        )
    if holder:
        return warn(
            name,
            f"pid {holder} uses {where.state_dir} and does not answer on {where.api_socket}",
            f"give it a minute if it has just started; else look into {where.daemon_log}, and kill {holder}: "
            "replicas run on, and the next daemon adopts them",
        )
    if peer is Peer.SILENT:
        return fail(name, f"{where.api_socket} cannot be asked", "mend the permissions of the state directory")
    return ok(name, "none runs")


def check_stale_sockets(where: Locations) -> Finding:
    """Sockets and registrations that nobody serves any more. They do no harm; they say that something was killed."""
    stale = []
    if not lock_holder(where.lock_file):
        stale += [p for p in (where.api_socket, where.discovery_socket) if ask(p) is Peer.STALE]
    stale += _dead_registrations(registrations_dir(where))
    if stale:
        return warn(
            "stale sockets",
            f"left by a program that was killed: {', '.join(map(str, stale))}",
            "nothing need be done, the next start replaces them; or rm them",
        )
    return ok("stale sockets", "none")


def lock_holder(lock_file: Path) -> str:
    """The pid of the daemon that holds the lock; empty where nobody does, or where nobody can be asked."""
    try:
        held = flock_holders(Path(PROC_LOCKS).read_text(), lock_file.stat().st_ino)
        return (lock_file.read_text(errors="replace").strip() or "unknown") if held else ""
    except OSError:
        return ""


def ask(path: Path) -> Peer:
    """Does somebody listen there?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return Peer.ABSENT
            return Peer.STALE if error.errno == errno.ECONNREFUSED else Peer.SILENT
    return Peer.SERVED


def _dead_registrations(directory: Path) -> list[Path]:
    dead = []
    for path in sorted(directory.glob("*.json")):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=ServeRegistration)
        except (OSError, *UNREADABLE):
            continue  # being written, or gone a moment ago
        if not Path(f"/proc/{record.pid}").exists():
            dead.append(path)
    return dead
