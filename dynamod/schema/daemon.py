"""The daemon about itself, and how it says no."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

API_VERSION = "1"
API_VERSION_HEADER = "Dynamod-API-Version"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem document. `type` is stable; `field` names the offending input; `remedy` says what to do."""

    type: str
    title: str
    status: int
    detail: str = ""
    field: str | None = None
    remedy: str | None = None
    instance: str | None = None


class DaemonInfo(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    api_version: str = API_VERSION
    pid: int
    started_at: datetime
    state_dir: str
    ephemeral: bool = False
    discovery: str = ""
    host: str = ""
    last_seq: int = 0
    gpus_simulated: bool = False
    checks: dict[str, Any] = {}
