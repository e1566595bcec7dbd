"""What is a secret: told by the name that a value goes under, and in running text by how it is written. Pure.

The daemon (answers, events, problems, its log) and the front ends use these same rules.
"""

from __future__ import annotations

import re

HIDDEN = "***"

_SECRET_NAME = re.compile(
    r"""
      (?:^|[_\-.])(?:KEY|PASS|PWD|AUTH)(?:$|[_\-.])   # as a word of its own: KEYBOARD, MONKEY and AUTHOR are none
    | API_?KEY | SECRET | PASSW | PASSPHRASE | CREDENTIAL | PRIVATE | AUTHORIZATION
    | TOKEN(?! S | IZ | _?(?:COUNT|LIMIT|BUDGET|IDS?(?:$|_)) )  # MAX_TOKENS and tokenizers are about text
    """,
    re.IGNORECASE | re.VERBOSE,
)
_BEARER = re.compile(r"(?i)(\bBearer\s+)[A-Za-z0-9._~+/=-]{8,}")
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]+:)[^\s@/]+(?=@)")
_NAMED = re.compile(
    r"""
    (?<![A-Z0-9_.-]) (?P<name> [A-Z0-9_.-]* (?:KEY|PASS|PWD|AUTH|SECRET|CREDENTIAL|PRIVATE|TOKEN) [A-Z0-9_.-]* )
    (?P<between> ["']? \s* [=:] \s* ["']? )
    (?!Bearer\s) [^\s"',;&}]{4,}
    """,
    re.IGNORECASE | re.VERBOSE,
)


def is_secret_name(name: str) -> bool:
    """Whether what goes under this name is a secret: API_KEY, HF_TOKEN, accessToken, db.password, … not MAX_TOKENS."""
    return _SECRET_NAME.search(name) is not None


def redact_text(text: str) -> str:
    """Running text without `NAME_KEY=value`, bearer tokens and passwords in URLs."""
    if "=" not in text and ":" not in text and "earer" not in text.lower():
        return text
    text = _IN_URL.sub(rf"\g<1>{HIDDEN}", _BEARER.sub(rf"\g<1>{HIDDEN}", text))
    return _NAMED.sub(_hide, text)


def _hide(match: re.Match[str]) -> str:
    return f"{match['name']}{match['between']}{HIDDEN}" if is_secret_name(match["name"]) else match[0]
