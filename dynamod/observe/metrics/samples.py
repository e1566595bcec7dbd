"""The latest picture of one replica's metrics, folded from the sparse samples of its stream.

A stream sends everything once and then only what changed. Prometheus' flat histogram samples
(`x_bucket{le}`, `x_sum`, `x_count`) are folded into one vector, so that a histogram is one series.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

SeriesKey = tuple[str, tuple[tuple[str, str], ...]]
"""(name, labels as sorted pairs)."""

Value = float | tuple[float, ...]
"""A number, or a histogram: (sum, cumulative count per bound…); the last bound is +Inf."""

_BUCKET, _SUM, _COUNT = "_bucket", "_sum", "_count"


@dataclass
class _Folding:
    """A histogram while its samples come in. `counts` are cumulative, by upper bound."""

    total: float = 0.0
    counts: dict[float, float] = field(default_factory=dict)

    def bounds(self) -> tuple[float, ...]:
        return tuple(sorted(self.counts))

    def vector(self) -> tuple[float, ...]:
        return (self.total, *(self.counts[bound] for bound in self.bounds()))


class ReplicaSamples:
    """`latest` holds every series; `kinds` says `counter`, `gauge` or `histogram`; `bounds` is for histograms."""

    def __init__(self) -> None:
        self.t = 0.0
        self.latest: dict[SeriesKey, Value] = {}
        self.kinds: dict[SeriesKey, str] = {}
        self.bounds: dict[SeriesKey, tuple[float, ...]] = {}
        self._folding: dict[SeriesKey, _Folding] = {}
        self._keys: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[SeriesKey, float | str | None]] = {}

    def apply(self, message: dict[str, Any]) -> dict[SeriesKey, bool]:
        """Take one message of the stream; returns the series that changed, and whether each has just begun.

        A series that is new in a full message is merely new to us; one that appears later began at zero.

        Raises:
            ValueError: it is not a message of the metrics stream.
        """
        try:
            self.t = float(message["t"])
            samples: Iterable[Sequence[Any]] = message["samples"]
            full = bool(message.get("full"))
            if full:
                self.latest.clear()
                self._folding.clear()
            return self._take(samples, full)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"not a metrics message: {error!r}") from None

    def _take(self, samples: Iterable[Sequence[Any]], full: bool) -> dict[SeriesKey, bool]:
        changed: dict[SeriesKey, bool] = {}
        for name, labels, value, kind in samples:
            flat = (name, tuple(labels.items()))
            key, part = self._keys.get(flat) or self._learn(flat, kind)
            if key not in changed:
                changed[key] = not full and key not in self.latest
            if part is None:
                self.latest[key] = float(value)
            else:
                folding = self._folding.setdefault(key, _Folding())
                if part == _SUM:
                    folding.total = float(value)
                elif isinstance(part, float):
                    folding.counts[part] = float(value)
        for key in changed:
            if (folded := self._folding.get(key)) is not None:
                self.bounds[key] = folded.bounds()
                self.latest[key] = folded.vector()
        return changed

    def _learn(self, flat: tuple[str, tuple[tuple[str, str], ...]], kind: str) -> tuple[SeriesKey, float | str | None]:
        """Which series a flat sample belongs to, and which part of it is; remembered, since they repeat."""
        name, labels = flat
        part: float | str | None = None
        if kind == "histogram":
            if name.endswith(_BUCKET):
                bound = dict(labels)["le"]
                part = inf if bound == "+Inf" else float(bound)
                name = name.removesuffix(_BUCKET)
                labels = tuple(pair for pair in labels if pair[0] != "le")
            elif name.endswith(_SUM):
                part, name = _SUM, name.removesuffix(_SUM)
            else:
                part, name = _COUNT, name.removesuffix(_COUNT)
        key = (name, tuple(sorted((str(k), str(v)) for k, v in labels)))
        self.kinds[key] = kind
        self._keys[flat] = (key, part)
        return key, part
