"""Resuming a stream: where it was, and how long to wait before the next attempt. No I/O."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """What a follower tells its owner: connected, or why not and when it tries again (seconds)."""

    connected: bool
    error: str = ""
    retry_in_s: float = 0.0


OnConnection = Callable[[ConnectionState], None]


class Resumption:
    """The memory of one followed stream across its connections."""

    def __init__(self, after: str | None = None) -> None:
        self.last_id = after
        self._failures = 0

    def headers(self) -> dict[str, str]:
        return {"Last-Event-ID": self.last_id} if self.last_id else {}

    def seen(self, event_id: str | None) -> None:
        """An event arrived: the connection is good, and this is where to go on from."""
        self._failures = 0
        if event_id is not None:
            self.last_id = event_id

    def connected(self) -> None:
        self._failures = max(0, self._failures - 1)

    def next_delay(self) -> float:
        """Seconds to wait: doubles from 0.1 to 5, with full jitter on the upper half."""
        ceiling: float = min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** min(self._failures, 10))
        self._failures += 1
        return ceiling * random.uniform(0.5, 1.0)
