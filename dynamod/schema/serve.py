"""What `dynamoctl serve` hands to the foreground program, and how a running one is found."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from dynamod.schema.locations import Locations


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `serve` command line, parsed. Written as JSON to a private file that the foreground program removes.

    `overrides` are the `--Service.key=value` arguments as they were typed (a value that stood apart is
    joined with `=`). `interpreter` runs the graph's code; empty means the one that runs `serve`. Paths are
    absolute or relative to the current directory. `state_dir` is where the registration goes: the daemon's
    own state directory, empty for the default one.
    """

    target: str
    name: str | None = None
    project: str = "default"
    config_file: str | None = None
    working_dir: str = ""
    host: str | None = None
    port: int | None = None
    service_name: str | None = None
    system_app_port: int | None = None
    enable_system_app: bool = False
    use_default_health_checks: bool = False
    overrides: tuple[str, ...] = ()
    envs: dict[str, str] = {}
    interpreter: str = ""
    state_dir: str = ""
    dry_run: bool = False


class ServeRegistration(msgspec.Struct, frozen=True, kw_only=True):
    """A running `serve`, as found in `serve/<pid>.json` of the state directory. `socket` is its REST face."""

    pid: int
    socket: str
    project: str
    graph: str
    target: str
    started_at: datetime


def registrations_dir(where: Locations) -> Path:
    """Where running `serve` programs register."""
    return where.state_dir / "serve"


def registration_file(where: Locations, pid: int) -> Path:
    return registrations_dir(where) / f"{pid}.json"
