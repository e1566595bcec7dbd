"""The event feed: one append-only sequence that is both audit trail and watch."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from dynamod.schema.states import Action, Reason


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says, apart from its number and its time."""

    actor: str
    action: Action
    project: str | None = None
    graph: str | None = None
    service: str | None = None
    replica: str | None = None
    reason: Reason | None = None
    message: str = ""
    data: dict[str, Any] = {}


class Event(Told, frozen=True, kw_only=True):
    """One change. `seq` has no gaps. `actor` is `user:<uid>`, `token:<name>`, or `engine`.

    `data` holds the changed object as the API shows it (a graph or a replica), so that a watcher can
    keep its picture current without asking again.
    """

    seq: int
    at: datetime
