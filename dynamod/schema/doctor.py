"""What `dynamod doctor` finds."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works, but worse than it could, or something that may be wanted is missing."""
    FAIL = "fail"
    """Something that is needed here does not work."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the machine. `remedy` says what to do, and is empty where nothing is to be done."""

    name: str
    verdict: Verdict
    what: str
    remedy: str = ""
