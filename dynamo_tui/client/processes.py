"""Starting and stopping the local daemon's process: what commands and the dashboard do when none answers."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dynamo_tui.client import calls
from dynamo_tui.client.contexts import Context, answers, local_context
from dynamo_tui.client.errors import DaemonProcessError, Unreachable
from dynamo_tui.client.sync import Client
from dynamod.schema.flocks import PROC_LOCKS, flock_holders
from dynamod.schema.locations import default_state_dir, locations

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
_POLL_S = 0.02
_children: list[subprocess.Popen[bytes]] = []
"""Daemons outlive whoever starts them: they are kept here, for Popen complains of a child that is forgotten alive."""


@dataclass(frozen=True)
class StartedDaemon:
    """The daemon that runs now: the one just started, or that of somebody who was faster."""

    pid: int
    log: Path


def start_daemon(environ: Mapping[str, str], arguments: Sequence[str] = ()) -> StartedDaemon:
    """Start `dynamod` (with these arguments) in a session of its own and wait until it answers.

    Raises:
        DaemonProcessError: it ended at once (the message is its last line), or does not answer in time; then it is
            left running, for it may be migrating its store.
    """
    where = locations(default_state_dir(environ))
    where.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with where.daemon_log.open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "dynamod", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env=dict(environ) | {"DYN_LOCAL_STATE_DIR": str(where.state_dir)},  # it may have been relative
        )
    _children.append(process)
    deadline = time.monotonic() + START_TIMEOUT_S
    context = local_context(environ)
    while time.monotonic() < deadline:
        if (pid := _serving(context)) is not None:
            return StartedDaemon(pid, where.daemon_log)
        if process.poll() is not None and not _held(where.lock_file):
            raise DaemonProcessError(
                f"dynamod ended at once: {_last_line(where.daemon_log, start)}",
                remedy=f"its log is {where.daemon_log}",
            )
        time.sleep(_POLL_S)
    raise DaemonProcessError(
        f"dynamod (pid {process.pid}) has not answered within {START_TIMEOUT_S:.0f} s",
        remedy=f"its log is {where.daemon_log}",
    )


def stop_daemon(client: Client, *, stop_graphs: bool, timeout: float = STOP_TIMEOUT_S) -> int:
    """Ask the daemon to end and wait until it has. Returns its pid.

    Raises:
        DaemonProcessError: it is still there.
    """
    info = client.send(calls.info())
    client.send(calls.shutdown(stop_graphs=stop_graphs))
    client.close()
    if client.context.socket is None:
        return info.pid
    if not _ended(info.pid, timeout):
        raise DaemonProcessError(
            f"dynamod (pid {info.pid}) still runs after {timeout:.0f} s", remedy="its log says why"
        )
    return info.pid


def _serving(context: Context) -> int | None:
    """The pid of the daemon that answers there."""
    if context.socket is None or not answers(context.socket):
        return None
    try:
        with Client(context, timeout=START_TIMEOUT_S) as client:
            return client.send(calls.info()).pid
    except Unreachable:
        return None


def _ended(pid: int, timeout: float) -> bool:
    """Wait for a process that need not be our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([descriptor], [], [], timeout)
        return bool(ready)
    finally:
        os.close(descriptor)


def _held(lock_file: Path) -> bool:
    """Somebody else was faster, and is starting: then there is one to wait for."""
    try:
        return bool(flock_holders(Path(PROC_LOCKS).read_text(), lock_file.stat().st_ino))
    except OSError:
        return False


def _last_line(log: Path, start: int) -> str:
    with log.open("rb") as stream:
        stream.seek(start if start <= stream.seek(0, os.SEEK_END) else 0)  # it may have been put aside meanwhile
        lines = stream.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no output"
