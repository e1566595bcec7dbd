"""The restart policy: a budget of attempts within a window, and an exponential back-off with jitter."""

from __future__ import annotations

from dataclasses import dataclass

from dynamo.sdk.spec import RestartSpec
from dynamod.schema.states import Reason

CONFIGURATION_ERROR = 2
"""The exit code of a replica that restarting will not help (see the replica contract)."""

OBSTACLES = frozenset({Reason.IMAGE_UNAVAILABLE, Reason.DISK_FULL, Reason.BACKEND_UNREACHABLE})
"""Why a start is put off that a restart budget has nothing to do with: it is tried until the cause has gone."""

_SHORTEST, _LONGEST = 1.0, 30.0
"""Seconds between two tries of an obstructed start."""


@dataclass(frozen=True)
class Verdict:
    """`failures` are the ends that still count, this one included; `retry_at` is None when the budget is spent."""

    failures: tuple[float, ...]
    retry_at: float | None
    delay: float = 0.0


def judge(policy: RestartSpec, failures: tuple[float, ...], now: float, chance: float) -> Verdict:
    """What to do about one more failure at `now`; `chance` in [0, 1) spreads replicas that failed together.

    Failures in the future are not counted: the clock was set back since.
    The delay doubles from `policy.delay` to `policy.max_delay`; half of it is fixed, half is jitter.
    """
    counted = (*(t for t in failures if now - policy.window < t <= now), now)
    if len(counted) > policy.attempts:
        return Verdict(counted, None)
    ceiling = min(policy.delay * 2.0 ** min(len(counted) - 1, 32), policy.max_delay)
    delay = ceiling * (0.5 + 0.5 * chance)
    return Verdict(counted, now + delay, delay)


def patience(lasted: float, chance: float) -> float:
    """Seconds until an obstructed start is tried again: a quarter of the time that the obstacle has lasted, within
    bounds; `chance` in [0, 1) spreads replicas that wait for the same."""
    return min(max(lasted / 4, _SHORTEST), _LONGEST) * (1 + 0.25 * chance)
