"""Hit rates over a moving window, from one bucket of sums for each second. Pure: times come with the entries.

Both definitions are kept apart: the ratio of sums (blocks reused / blocks asked) and the mean over requests
of each one's ratio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from dynamod.schema import HitRate

KEPT_S = 3600
"""How far back a window may reach."""


@dataclass
class Tally:
    """Sums of one second, of one worker or of all."""

    requests: int = 0
    asked: int = 0
    reused: int = 0
    ratios: float = 0.0

    def add(self, asked: int, reused: int) -> None:
        self.requests += 1
        self.asked += asked
        self.reused += reused
        self.ratios += reused / asked if asked else 0.0

    def take(self, other: Tally) -> None:
        self.requests += other.requests
        self.asked += other.asked
        self.reused += other.reused
        self.ratios += other.ratios

    def hit_rate(self) -> HitRate:
        return HitRate(
            requests=self.requests,
            blocks_asked=self.asked,
            blocks_reused=self.reused,
            ratio_of_sums=self.reused / self.asked if self.asked else None,
            mean_of_ratios=self.ratios / self.requests if self.requests else None,
        )


@dataclass
class Second:
    """Everything that was learned in [t, t + 1). Workers by instance id; the key "" is all of them."""

    t: int
    predicted: dict[str, Tally] = field(default_factory=dict)
    actual: dict[str, Tally] = field(default_factory=dict)
    avoidable: int = 0
    novel: int = 0

    def take(self, other: Second) -> None:
        for mine, theirs in ((self.predicted, other.predicted), (self.actual, other.actual)):
            for key, tally in theirs.items():
                mine.setdefault(key, Tally()).take(tally)
        self.avoidable += other.avoidable
        self.novel += other.novel

    @property
    def avoidable_share(self) -> float | None:
        """Of the blocks that had to be computed, those that another worker held: lost / (novel + lost)."""
        computed = self.novel + self.avoidable
        return self.avoidable / computed if computed else None


class HitRateWindow:
    """Buckets of the last `KEPT_S` seconds, and what of them nobody has written down yet."""

    def __init__(self) -> None:
        self._seconds: deque[Second] = deque()
        self._unwritten: dict[int, Second] = {}

    def predicted(self, t: float, worker: str, *, asked: int, reused: int, best: int) -> None:
        """A decision: `reused` blocks on the chosen worker, `best` on the one that held most."""
        for second in self._at(t):
            for key in ("", worker):
                second.predicted.setdefault(key, Tally()).add(asked, reused)
            second.avoidable += max(best - reused, 0)
            second.novel += max(asked - max(best, reused), 0)

    def actual(self, t: float, worker: str, *, asked: int, reused: int) -> None:
        """What the engine of the chosen worker really had."""
        for second in self._at(t):
            for key in ("", worker):
                second.actual.setdefault(key, Tally()).add(asked, reused)

    def totals(self, since: float, until: float) -> Second:
        """Sums of the seconds in (since, until]."""
        total = Second(int(until))
        for second in reversed(self._seconds):
            if second.t <= since:
                break
            if second.t <= until:
                total.take(second)
        return total

    def take_unwritten(self) -> list[Second]:
        """What was added since the last call, by second."""
        taken, self._unwritten = self._unwritten, {}
        return list(taken.values())

    def remember(self, past: Iterable[Second]) -> None:
        """Put what was written down in an earlier life before what is known."""
        self._seconds = deque(sorted((*past, *self._seconds), key=lambda second: second.t))

    def _at(self, t: float) -> tuple[Second, Second]:
        """The buckets of a time, kept and unwritten."""
        at = int(t)
        return self._kept_at(at), self._unwritten.setdefault(at, Second(at))

    def _kept_at(self, at: int) -> Second:
        place = len(self._seconds)
        while place and self._seconds[place - 1].t > at:
            place -= 1  # what comes late is late by a moment: the search is short
        if place and self._seconds[place - 1].t == at:
            return self._seconds[place - 1]
        made = Second(at)
        self._seconds.insert(place, made)
        while self._seconds[0].t < self._seconds[-1].t - KEPT_S:
            self._seconds.popleft()
        return made
