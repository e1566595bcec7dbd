"""The only authority on paths: where state, sockets and logs live. Pure: it names paths and makes none."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SUN_PATH_MAX = 100
"""Linux allows 107 bytes in a Unix socket's path; some room is left for suffixes."""


_APART = Path("/tmp")  # noqa: S108 - what lies there is made 0700 and checked by its maker


@dataclass(frozen=True)
class Locations:
    """Everything under one state directory."""

    state_dir: Path
    run_dir: Path

    @property
    def run_dir_is_apart(self) -> bool:
        """Whether sockets lie outside of the state directory, whose path is too long for them."""
        return self.run_dir.parent != self.state_dir

    @property
    def api_socket(self) -> Path:
        return self.run_dir / "api.sock"

    @property
    def discovery_socket(self) -> Path:
        return self.run_dir / "discovery.sock"

    @property
    def secrets_dir(self) -> Path:
        return self.state_dir / "secrets"

    @property
    def lock_file(self) -> Path:
        return self.state_dir / "dynamod.lock"

    @property
    def pid_file(self) -> Path:
        return self.state_dir / "dynamod.pid"

    @property
    def daemon_log(self) -> Path:
        return self.state_dir / "dynamod.log"

    @property
    def database(self) -> Path:
        return self.state_dir / "dynamod.db"

    @property
    def metrics_database(self) -> Path:
        return self.state_dir / "metrics.db"

    @property
    def xids_file(self) -> Path:
        return self.state_dir / "gpu-xids.json"

    @property
    def builds_dir(self) -> Path:
        return self.state_dir / "builds"

    @property
    def replicas_dir(self) -> Path:
        return self.state_dir / "replicas"

    def replica_dir(self, replica_id: str) -> Path:
        return self.replicas_dir / replica_id


def locations(state_dir: Path) -> Locations:
    """The layout under `state_dir`; sockets move to a short path when theirs would not fit."""
    state_dir = state_dir.absolute()
    run_dir = state_dir / "run"
    if len(os.fsencode(run_dir)) > SUN_PATH_MAX - 24:
        short = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]
        run_dir = _APART / f"{_prefix(os.getuid())}{short}"
    return Locations(state_dir=state_dir, run_dir=run_dir)


def short_run_dirs(uid: int) -> list[Path]:
    """The run directories that lie apart from their state directories, by the looks of their names."""
    return sorted(_APART.glob(f"{_prefix(uid)}*"))


def _prefix(uid: int) -> str:
    return f"dynamod-{uid}-"


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """`DYN_LOCAL_STATE_DIR`, else `$XDG_STATE_HOME/dynamod`, else `~/.local/state/dynamod`."""
    if configured := environ.get("DYN_LOCAL_STATE_DIR"):
        return Path(configured)
    base = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".local" / "state")
    return Path(base) / "dynamod"
