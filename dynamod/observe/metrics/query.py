"""From stored points to the series that the API answers: rates, quantiles and gauges on an even grid.

Pure: points go in, series come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dynamod.core.errors import Invalid
from dynamod.observe.metrics.quantiles import QUANTILES, increase, quantile
from dynamod.observe.metrics.samples import Value
from dynamod.observe.metrics.store import SeriesInfo
from dynamod.schema import Series

Points = Sequence[tuple[int, Value | None]]
Grouping = Literal["replica", "service"]

MAX_POINTS = 11_000
"""Most points of one series in an answer; a finer step over a longer range is refused."""

_AVERAGED = ("_usage", "_ratio", "_rate")
_UNITS = {
    "_seconds": "s",
    "_bytes": "bytes",
    "_seconds_total": "s/s",
    "_bytes_total": "bytes/s",
    "_tokens_total": "tokens/s",
}


@dataclass(frozen=True)
class Grid:
    """The steps of an answer: the point at `end` speaks of (end - step, end]."""

    ends: Sequence[float]
    step: float


def check_range(since: float, until: float, step: float) -> None:
    """Whether there is an answer to it.

    Raises:
        Invalid: a range the wrong way round, or one with too many steps.
    """
    if until <= since:
        raise Invalid("it is not before until", field="since")
    if (until - since) / step > MAX_POINTS:
        raise Invalid(
            f"{(until - since) / step:.0f} points are too many",
            field="step",
            remedy=f"use a step of {(until - since) / MAX_POINTS:.0f} s or more",
        )


def grid(since: float, until: float, step: float) -> Grid:
    """Aligned to the step, so that the same question asked a moment later has the same points."""
    first = since - since % step + step
    count = int((until - first) / step) + 1
    return Grid([first + at * step for at in range(max(count, 0))], step)


def unit_of(name: str, kind: str) -> str:
    """The unit in the metric's name (Prometheus' convention); counters come as rates."""
    matches = [suffix for suffix in _UNITS if name.endswith(suffix)]
    if matches:
        return _UNITS[max(matches, key=len)]
    return "1/s" if kind == "counter" else ""


def to_series(found: Sequence[tuple[SeriesInfo, Points]], steps: Grid, by: Grouping) -> list[Series]:
    """One series per stored one, or their sum (gauges that are shares: mean) per service and labels."""
    groups: dict[tuple[str, ...], list[tuple[SeriesInfo, Points]]] = {}
    for info, points in found:
        own = info.replica if by == "replica" else ""
        key = (info.name, info.service, own, *(f"{k}={v}" for k, v in sorted(info.labels.items())))
        groups.setdefault(key, []).append((info, points))
    answer: list[Series] = []
    for members in groups.values():
        answer.extend(_group_series(members, steps, by))
    return answer


def _group_series(members: list[tuple[SeriesInfo, Points]], steps: Grid, by: Grouping) -> list[Series]:
    info = members[0][0]
    labels = {**info.labels, "service": info.service}
    if by == "replica":
        labels["replica"] = info.replica
    unit = unit_of(info.name, info.kind)
    if info.kind == "histogram":
        bounds = info.bounds
        columns = [histogram_growth(points, steps, len(bounds) + 1) for own, points in members if own.bounds == bounds]
        merged = [_add_vectors(row) for row in zip(*columns, strict=True)]
        return [
            Series(
                name=info.name,
                unit=unit,
                labels={**labels, "quantile": f"{q:g}"},
                points=[
                    (end, quantile(q, bounds, vector[1:]) if vector else None)
                    for end, vector in zip(steps.ends, merged, strict=True)
                ],
            )
            for q in QUANTILES
        ]
    read = counter_rates if info.kind == "counter" else gauge_values
    averaged = info.kind == "gauge" and info.name.endswith(_AVERAGED)
    values = [_combine(row, averaged) for row in zip(*(read(points, steps) for _, points in members), strict=True)]
    return [Series(name=info.name, unit=unit, labels=labels, points=list(zip(steps.ends, values, strict=True)))]


def gauge_values(points: Points, steps: Grid) -> list[float | None]:
    """The mean of each step weighted by time; None where the replica was away for all of it."""
    values: list[float | None] = []
    current, at = _number(_at_start(points, steps)), _skip_before(points, steps)
    for end in steps.ends:
        area, covered, clock = 0.0, 0.0, end - steps.step
        while at < len(points) and points[at][0] <= end:
            t, value = points[at]
            if current is not None:
                area, covered = area + current * (t - clock), covered + (t - clock)
            clock, current, at = float(t), _number(value), at + 1
        if current is not None:
            area, covered = area + current * (end - clock), covered + (end - clock)
        values.append(area / covered if covered > 0 else current)
    return values


def counter_rates(points: Points, steps: Grid) -> list[float | None]:
    """Increase per second in each step; a counter that shrank started anew from zero."""
    values: list[float | None] = []
    last, at = _number(_at_start(points, steps)), _skip_before(points, steps)
    for end in steps.ends:
        grown, known = 0.0, last is not None
        while at < len(points) and points[at][0] <= end:
            value = _number(points[at][1])
            if value is not None and last is not None:
                grown += value - last if value >= last else value
                known = True
            last, at = value, at + 1
        values.append(grown / steps.step if known else None)
    return values


def histogram_growth(points: Points, steps: Grid, width: int) -> list[list[float] | None]:
    """How much each element of the vector grew in each step; None where nothing is known."""
    values: list[list[float] | None] = []
    last, at = _vector(_at_start(points, steps)), _skip_before(points, steps)
    for end in steps.ends:
        grown = [0.0] * width if last is not None else None
        while at < len(points) and points[at][0] <= end:
            value = _vector(points[at][1])
            if value is not None and last is not None:
                grown = _add_vectors([grown, increase(last, value)])
            last, at = value, at + 1
        values.append(grown)
    return values


def _skip_before(points: Points, steps: Grid) -> int:
    start = steps.ends[0] - steps.step if steps.ends else 0.0
    return sum(1 for t, _ in points if t <= start)


def _at_start(points: Points, steps: Grid) -> Value | None:
    skipped = _skip_before(points, steps)
    return points[skipped - 1][1] if skipped else None


def _number(value: Value | None) -> float | None:
    return None if isinstance(value, tuple) else value


def _vector(value: Value | None) -> tuple[float, ...] | None:
    return value if isinstance(value, tuple) else None


def _combine(values: Sequence[float | None], averaged: bool) -> float | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return sum(known) / len(known) if averaged else sum(known)


def _add_vectors(vectors: Sequence[Sequence[float] | None]) -> list[float] | None:
    known = [vector for vector in vectors if vector is not None]
    return [sum(column) for column in zip(*known, strict=True)] if known else None
