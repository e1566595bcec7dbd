"""A figure over time, bounded: what sparklines and charts are drawn from."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable

POINTS_KEPT = 1_800
"""Half an hour at one point a second."""

STALE_S = 20.0
"""Figures come once a second, retained ones every five or ten: one that is older says nothing of now."""

Point = tuple[float, float | None]


class Track:
    """Points (seconds since the epoch, value) in order of time; None is a gap."""

    __slots__ = ("points",)

    def __init__(self, points: Iterable[Point] = ()) -> None:
        self.points: deque[Point] = deque(points, maxlen=POINTS_KEPT)

    def add(self, t: float, value: float | None) -> None:
        """Add a point; one that is not newer than the last replaces it."""
        if self.points and t <= self.points[-1][0]:
            self.points[-1] = (self.points[-1][0], value)
        else:
            self.points.append((t, value))

    def prepend(self, points: Iterable[Point]) -> None:
        """Put older points in front; those that overlap what is held are left out."""
        first = self.points[0][0] if self.points else float("inf")
        older = [(t, v) for t, v in points if t < first]
        self.points = deque([*older, *self.points], maxlen=POINTS_KEPT)

    def at(self, t: float) -> float | None:
        """The value at `t`: that of the last point before, unless it has been missing for long by then."""
        held = self.points
        index = len(held) - 1
        while index >= 0 and held[index][0] > t:
            index -= 1
        return held[index][1] if index >= 0 and held[index][0] >= t - STALE_S else None

    def between(self, start: float, end: float) -> list[Point]:
        held = list(self.points)
        low = bisect_left(held, start, key=lambda p: p[0])
        return [p for p in held[low:] if p[0] <= end]

    def buckets(self, start: float, end: float, number: int) -> list[float | None]:
        """The mean of each of `number` equal stretches of time; a stretch without a point holds None."""
        sums = [0.0] * number
        counts = [0] * number
        width = (end - start) / number if number else 0
        if width <= 0:
            return []
        for t, value in self.between(start, end):
            if value is not None:
                i = min(number - 1, int((t - start) / width))
                sums[i] += value
                counts[i] += 1
        return [s / n if n else None for s, n in zip(sums, counts, strict=True)]
