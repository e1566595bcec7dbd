"""Quantiles from cumulative histogram counts, interpolated linearly within a bucket as Prometheus does.

https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

QUANTILES = (0.5, 0.95, 0.99)


def quantile(q: float, bounds: Sequence[float], cumulative: Sequence[float]) -> float | None:
    """The value below which a share `q` of the observations lies; None when there are none.

    `bounds` are upper bounds, ascending, ending with +Inf; beyond the last finite bound that bound is given.
    """
    total = cumulative[-1] if cumulative else 0.0
    if total <= 0:
        return None
    rank = q * total
    below, lower = 0.0, 0.0
    for bound, count in zip(bounds, cumulative, strict=True):
        if count >= rank:
            if bound == inf:
                return lower
            inside = count - below
            return bound if inside <= 0 else lower + (bound - lower) * (rank - below) / inside
        below, lower = count, bound
    return lower


def increase(before: Sequence[float], after: Sequence[float]) -> list[float]:
    """How much each element of a cumulative vector grew; a vector that shrank started anew."""
    if len(before) != len(after) or after[-1] < before[-1]:
        return list(after)
    return [max(b - a, 0.0) for a, b in zip(before, after, strict=True)]
