"""Hit rates over a moving window, from one bucket of sums a second. Pure: times come with the entries.

Both definitions are kept apart: the ratio of sums (blocks reused / blocks asked) and the mean over requests
of each one's ratio.
"""

from __future__ import annotations

from collections import deque
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
    """Everything that was learned in one second. Workers by instance id; the key "" is all of them."""

    t: int
    predicted: dict[str, Tally] = field(default_factory=dict)
    actual: dict[str, Tally] = field(default_factory=dict)
    avoidable: int = 0
    novel: int = 0


@dataclass(frozen=True)
class Totals:
    """A window added up."""

    predicted: dict[str, Tally]
    actual: dict[str, Tally]
    avoidable: int
    novel: int

    @property
    def avoidable_share(self) -> float | None:
        """Of the blocks that had to be computed, those that another worker held: lost / (novel + lost)."""
        computed = self.novel + self.avoidable
        return self.avoidable / computed if computed else None


class HitRateWindow:
    """Buckets of the last `KEPT_S` seconds."""

    def __init__(self) -> None:
        self._seconds: deque[Second] = deque()

    def predicted(self, t: float, worker: str, *, asked: int, reused: int, best: int) -> None:
        """A decision: `reused` blocks on the chosen worker, `best` on the one that held most."""
        second = self._at(t)
        for key in ("", worker):
            second.predicted.setdefault(key, Tally()).add(asked, reused)
        second.avoidable += max(best - reused, 0)
        second.novel += max(asked - max(best, reused), 0)

    def actual(self, t: float, worker: str, *, asked: int, reused: int) -> None:
        """What the engine of the chosen worker really had."""
        second = self._at(t)
        for key in ("", worker):
            second.actual.setdefault(key, Tally()).add(asked, reused)

    def totals(self, since: float, until: float) -> Totals:
        """Sums of the seconds in (since, until]."""
        predicted: dict[str, Tally] = {}
        actual: dict[str, Tally] = {}
        avoidable = novel = 0
        for second in reversed(self._seconds):
            if second.t <= since:
                break
            if second.t > until:
                continue
            for total, part in ((predicted, second.predicted), (actual, second.actual)):
                for key, tally in part.items():
                    total.setdefault(key, Tally()).take(tally)
            avoidable += second.avoidable
            novel += second.novel
        return Totals(predicted, actual, avoidable, novel)

    def steps(self, since: float, until: float, step: float, worker: str) -> list[tuple[float, Tally, Tally]]:
        """(end of step, predicted, actual) over the range, for one worker or all (the empty string)."""
        first = since - since % step + step
        count = max(int((until - first) / step) + 1, 0)
        grid = [(first + at * step, Tally(), Tally()) for at in range(count)]
        for second in self._seconds:
            at = int((second.t - first) // step) + (1 if (second.t - first) % step else 0)
            if 0 <= at < count and second.t > since:
                _, predicted, actual = grid[at]
                predicted.take(second.predicted.get(worker, Tally()))
                actual.take(second.actual.get(worker, Tally()))
        return grid

    def _at(self, t: float) -> Second:
        """The bucket of a time; one that is a little late goes into the newest bucket."""
        at = int(t)
        if not self._seconds or at > self._seconds[-1].t:
            self._seconds.append(Second(at))
            while self._seconds[0].t < at - KEPT_S:
                self._seconds.popleft()
        return self._seconds[-1]
