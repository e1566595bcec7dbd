"""What the guard holds requests to; apart from it, because whoever starts a face names its rules long before the web
framework is imported."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynamod.api.tokens import TokenSet

MAX_BODY = 16 << 20
"""Bytes. A spec of a thousand services is well below; archives have a limit of their own."""

MAX_UPLOAD = 2 << 30
"""Bytes of an archive that is uploaded."""


@dataclass(frozen=True)
class GuardRules:
    """`tokens` is None when nothing listens on TCP. `hosts` are further names the daemon is reached by."""

    tokens: TokenSet | None = None
    hosts: frozenset[str] = frozenset()
    max_body: int = MAX_BODY
    max_upload: int = MAX_UPLOAD
    own_hosts: frozenset[str] = field(
        default_factory=lambda: frozenset({"localhost", "dynamod", socket.gethostname().lower()})
    )


def guard_rules(tokens: TokenSet | None, hosts: Iterable[str] = ()) -> GuardRules:
    return GuardRules(tokens=tokens, hosts=frozenset(host.lower() for host in hosts))
