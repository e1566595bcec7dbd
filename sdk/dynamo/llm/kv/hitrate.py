"""Hit rates, both ways and never mixed.

*Ratio of sums*: blocks reused / blocks asked. *Mean of ratios*: each request's own ratio, averaged; short prompts
weigh as much as long ones. A block is *avoidably* missed when another eligible worker held it; the avoidable
share is that of all blocks that had to be computed.
"""

from __future__ import annotations


class HitRate:
    """Running sums since the start. Only requests with at least one full block count."""

    __slots__ = ("blocks_asked", "blocks_reused", "ratio_sum", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.blocks_asked = 0
        self.blocks_reused = 0
        self.ratio_sum = 0.0

    def add(self, asked: int, reused: int) -> None:
        """One request: blocks of its prompt, and how many of them need not be computed."""
        if asked:
            self.requests += 1
            self.blocks_asked += asked
            self.blocks_reused += reused
            self.ratio_sum += reused / asked

    @property
    def ratio_of_sums(self) -> float | None:
        """None while nothing was asked."""
        return self.blocks_reused / self.blocks_asked if self.blocks_asked else None

    @property
    def mean_of_ratios(self) -> float | None:
        return self.ratio_sum / self.requests if self.requests else None


class HitRates:
    """Predicted and actual, overall and per worker, with the avoidable part of the prediction."""

    def __init__(self) -> None:
        self.predicted = HitRate()
        self.actual = HitRate()
        self.avoidable_blocks = 0

    @property
    def avoidable_share(self) -> float | None:
        """Of the blocks predicted to be computed, the share that another worker held: lost / (novel + lost)."""
        computed = self.predicted.blocks_asked - self.predicted.blocks_reused
        return self.avoidable_blocks / computed if computed else None
