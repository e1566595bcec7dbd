"""Old path of the target enumeration. Where a graph runs is the command's choice now, not the module's."""

from __future__ import annotations

from enum import Enum


class TargetEnum(str, Enum):  # noqa: UP042 - old code relies on both bases
    """What a graph module could be imported for."""

    DYNAMO = "dynamo"


__all__ = ["TargetEnum"]
