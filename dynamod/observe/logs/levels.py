"""Which level a log line has, judged by its text."""

from __future__ import annotations

import re
from collections.abc import Sequence

LEVELS = ("trace", "debug", "info", "warning", "error", "critical")
"""From the least to the most severe."""

_ALIASES = {"warn": "warning", "fatal": "critical", "crit": "critical", "err": "error", "notice": "info"}
_WORD = re.compile(r"\b(TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|CRIT(?:ICAL)?|FATAL)\b")
_FIELD = re.compile(
    r"""(?:\blevel["']?\s*[=:]\s*["']?|\[|^)(trace|debug|info|notice|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal)\b""",
    re.IGNORECASE,
)
_GLOG = re.compile(r"^([DIWEF])\d{4} \d\d:\d\d:\d\d")
_GLOG_LEVELS = {"D": "debug", "I": "info", "W": "warning", "E": "error", "F": "critical"}
_HEAD = 160
_LOOK_BACK = 200


def level_of(text: str) -> str:
    """The level that the line itself states, or the empty string."""
    head = text[:_HEAD]
    if glog := _GLOG.match(head):
        return _GLOG_LEVELS[glog[1]]
    if found := _FIELD.search(head) or _WORD.search(head):
        word = found[1].lower()
        return _ALIASES.get(word, word)
    if head.startswith("Traceback (most recent call last)"):
        return "error"
    return ""


def level_at(lines: Sequence[str], index: int) -> str:
    """The level of `lines[index]`; an indented line without one belongs to the record above it."""
    for at in range(index, max(index - _LOOK_BACK, -1), -1):
        level = level_of(lines[at])
        if level or not (lines[at][:1].isspace() or not lines[at]):
            return level
    return ""


def at_least(minimum: str) -> frozenset[str]:
    """The levels from `minimum` up.

    Raises:
        ValueError: there is no such level.
    """
    name = _ALIASES.get(minimum.lower(), minimum.lower())
    if name not in LEVELS:
        raise ValueError(f"{minimum!r} is not a level; use one of {', '.join(LEVELS)}")
    return frozenset(LEVELS[LEVELS.index(name) :])
