"""What `/` means: all words must occur, whatever their case; `!word` must not; `~re` is a regular expression."""

from __future__ import annotations

import re
from functools import lru_cache


def matches(filter_text: str, text: str) -> bool:
    """Whether `text` passes the filter. An empty filter passes everything."""
    lowered = text.lower()
    for word in filter_text.lower().split():
        if word.startswith("!"):
            if len(word) > 1 and word[1:] in lowered:
                return False
        elif word.startswith("~"):
            pattern = _compiled(word[1:])
            if pattern is None or pattern.search(lowered) is None:
                return False
        elif word not in lowered:
            return False
    return True


@lru_cache(maxsize=32)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """None for a pattern that is not (yet) one: it is typed letter by letter."""
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error:
        return None
