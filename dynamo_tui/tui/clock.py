"""A clock that shows a time of the past: it can be set, stopped, and run at the speed of life."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress


class Clock:
    """Times are seconds since the epoch; it never leaves `start` to `end`."""

    def __init__(self, start: float, end: float, *, at: float, playing: bool) -> None:
        self.start = start
        self.end = end
        self.playing = playing
        self._moved = asyncio.Event()
        self._place = at
        self._set_at = time.monotonic()

    def now(self) -> float:
        """The time that is shown."""
        run = time.monotonic() - self._set_at if self.playing else 0.0
        return min(self.end, self._place + run)

    def set(self, t: float) -> None:
        """Show this time, or the end of the range that is nearest to it."""
        self._place = min(max(t, self.start), self.end)
        self._set_at = time.monotonic()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def pause(self, on: bool) -> None:
        here = self.now()
        self.playing = not on
        self.set(here)

    async def reach(self, t: float) -> None:
        """Wait until it shows `t`."""
        while (left := t - self.now()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), left if self.playing else None)
