"""The engine's clock: wall time that does not jump."""

from __future__ import annotations

import time
from collections.abc import Callable

_SLEW = 0.05
"""How much faster or slower than real time it may run while it follows a clock that was set: 3 s a minute."""


def since_boot() -> float:
    """Seconds since the machine booted, sleep included; nobody can set this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Seconds since the epoch, for stamps and for deadlines that outlive the engine.

    When somebody sets the machine's clock, deadlines must neither all come at once (drains cut short, start-ups given
    up) nor move away by hours (restarts that wait). So this one goes on as if nothing had happened, and drifts towards
    the new time. It never goes backwards.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = since_boot) -> None:
        self._wall = wall
        self._steady = steady
        self._last = wall()
        self._last_steady = steady()

    def __call__(self) -> float:
        steady = self._steady()
        elapsed = max(steady - self._last_steady, 0.0)
        expected = self._last + elapsed
        most = _SLEW * elapsed
        self._last = expected + min(max(self._wall() - expected, -most), most)
        self._last_steady = steady
        return self._last
