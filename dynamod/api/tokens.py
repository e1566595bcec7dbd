"""Tokens for the API over TCP: only their hashes are kept.

A token file holds one token a line: `<name> <read-write|read-only> <SHA-256 of the token, hex>`. A token is
32 random bytes, so a plain hash at rest is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

READ_WRITE = "read-write"
READ_ONLY = "read-only"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


class TokenFileError(Exception):
    """A token file that cannot be used; the message says which line and why."""


@dataclass(frozen=True)
class Token:
    """`name` is who it was made for: events show `token:<name>` as their actor."""

    name: str
    read_only: bool
    digest: str


class TokenSet:
    """The tokens that a listener accepts."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._tokens = tuple(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def find(self, presented: str) -> Token | None:
        """The token that was presented. Every entry is compared, in constant time."""
        digest = hash_token(presented)
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def load_tokens(path: Path) -> TokenSet:
    """Read a token file.

    Raises:
        TokenFileError: it is missing, empty, malformed, or others may write it.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenFileError(f"cannot read the token file {path}: {error}") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise TokenFileError(f"others may write the token file {path}; run: chmod 600 {path}")
    tokens: list[Token] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        tokens.append(_parse(line, f"{path}, line {number}"))
    if not tokens:
        raise TokenFileError(f"the token file {path} holds no token; run: dynamod token NAME --token-file {path}")
    return TokenSet(tokens)


def add_token(path: Path, name: str, *, read_only: bool = False) -> str:
    """Make a token, append its hash to the file (made 0600), and return it. It cannot be read again.

    Raises:
        TokenFileError: the name is not usable or taken, or the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise TokenFileError(f"{name!r} is not a token name: letters, digits, '.', '_' and '-', at most 64")
    if path.exists() and path.stat().st_size:
        taken = {line.split()[0] for line in path.read_text().splitlines() if line.split()}
        if name in taken:
            raise TokenFileError(f"{path} already has a token named {name!r}; remove its line first")
    token = secrets.token_urlsafe(32)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{name} {READ_ONLY if read_only else READ_WRITE} {hash_token(token)}\n")
    except OSError as error:
        raise TokenFileError(f"cannot write the token file {path}: {error}") from None
    return token


def _parse(line: str, where: str) -> Token:
    parts = line.split()
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]) or parts[1] not in (READ_WRITE, READ_ONLY):
        raise TokenFileError(f"{where}: expected '<name> <read-write|read-only> <sha256>'")
    if not _HASH.fullmatch(parts[2]):
        raise TokenFileError(f"{where}: the third word is not a SHA-256 in hex (the token itself must not be kept)")
    return Token(parts[0], parts[1] == READ_ONLY, parts[2])
