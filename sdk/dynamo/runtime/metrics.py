"""Counters, gauges and histograms of one process, in Prometheus' data model.

Written for the request path: a child (`family.labels(…)`) is looked up once and kept, and its update is
one attribute addition. Not thread-safe by design: metrics belong to the event loop's thread; other threads
hand their figures over with `loop.call_soon_threadsafe`.

Text format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Generic, Literal, NamedTuple, TypeVar

MetricType = Literal["counter", "gauge", "histogram"]

SECONDS_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
                   10.0, 30.0, 60.0)  # fmt: skip
COUNT_BUCKETS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


class Sample(NamedTuple):
    """One value. `type` is the family's; a histogram's samples are its `_bucket`, `_sum` and `_count`."""

    name: str
    labels: dict[str, str]
    value: float
    type: MetricType


class _Number:
    """One value. With a function, it is asked for when it is read."""

    __slots__ = ("function", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.function: Callable[[], float] | None = None

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount

    def set_function(self, function: Callable[[], float]) -> None:
        self.function = function

    def read(self) -> float:
        return self.value if self.function is None else self.function()


class Counter(_Number):
    """Only grows."""

    __slots__ = ()


class Gauge(_Number):
    """Goes up and down."""

    __slots__ = ()

    def set(self, value: float) -> None:
        self.value = value

    def dec(self, amount: float = 1.0) -> None:
        self.value -= amount


class Histogram:
    """Counts observations per bucket; `bounds` are upper bounds, inclusive, ascending."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


Child = TypeVar("Child", Counter, Gauge, Histogram)


class Family(Generic[Child]):
    """One metric name with its label names; `labels(…)` gives the child for their values."""

    __slots__ = ("_children", "_make", "help", "label_names", "name", "type")

    def __init__(
        self, name: str, help_: str, type_: MetricType, label_names: tuple[str, ...], make: Callable[[], Child]
    ) -> None:
        self.name = name
        self.help = help_
        self.type: MetricType = type_
        self.label_names = label_names
        self._make: Callable[[], Child] = make
        self._children: dict[tuple[str, ...], Child] = {}
        if not label_names:
            self._children[()] = make()

    def labels(self, *values: str) -> Child:
        """The child for these label values, in the order of the label names. Raises `ValueError` on a wrong count."""
        child = self._children.get(values)
        if child is None:
            if len(values) != len(self.label_names):
                raise ValueError(f"{self.name} has labels {self.label_names}, got {values}")
            child = self._children[values] = self._make()
        return child

    def remove(self, *values: str) -> None:
        """Forget a child, for example of an endpoint that is no longer served."""
        self._children.pop(values, None)

    def samples(self) -> Iterator[Sample]:
        for values, child in list(self._children.items()):
            labels = dict(zip(self.label_names, values, strict=True))
            if isinstance(child, Histogram):
                yield from _histogram_samples(self.name, labels, child)
            else:
                yield Sample(self.name, labels, child.read(), self.type)


class Registry:
    """All metric families of a process. Asking for a name again gives the same family."""

    def __init__(self) -> None:
        self._families: dict[str, Family[Counter] | Family[Gauge] | Family[Histogram]] = {}

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Family[Counter]:
        return self._family(name, lambda: Family(name, help, "counter", tuple(labels), Counter), "counter", labels)

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Family[Gauge]:
        return self._family(name, lambda: Family(name, help, "gauge", tuple(labels), Gauge), "gauge", labels)

    def histogram(
        self, name: str, help: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = SECONDS_BUCKETS
    ) -> Family[Histogram]:
        def make() -> Family[Histogram]:
            bounds = tuple(sorted(buckets))
            return Family(name, help, "histogram", tuple(labels), lambda: Histogram(bounds))

        return self._family(name, make, "histogram", labels)

    def samples(self) -> list[Sample]:
        return [sample for family in list(self._families.values()) for sample in family.samples()]

    def render(self) -> str:
        """The Prometheus text format."""
        lines: list[str] = []
        for family in list(self._families.values()):
            lines.append(f"# HELP {family.name} {_escape_help(family.help)}")
            lines.append(f"# TYPE {family.name} {family.type}")
            lines.extend(f"{s.name}{_render_labels(s.labels)} {_number(s.value)}" for s in family.samples())
        return "\n".join(lines) + "\n"

    def _family(
        self, name: str, make: Callable[[], Family[Child]], type_: MetricType, labels: Sequence[str]
    ) -> Family[Child]:
        known = self._families.get(name)
        if known is None:
            family = make()
            self._families[name] = family
            return family
        if known.type != type_ or known.label_names != tuple(labels):
            raise ValueError(f"metric {name} exists as a {known.type} with labels {known.label_names}")
        return known  # type: ignore[return-value]  # the type and the labels were just compared


_default = Registry()


def default_registry() -> Registry:
    """The registry of this process."""
    return _default


def _histogram_samples(name: str, labels: dict[str, str], child: Histogram) -> Iterator[Sample]:
    seen = 0
    for bound, count in zip((*child.bounds, inf), child.counts, strict=True):
        seen += count
        yield Sample(f"{name}_bucket", {**labels, "le": _number(bound)}, float(seen), "histogram")
    yield Sample(f"{name}_sum", labels, child.total, "histogram")
    yield Sample(f"{name}_count", labels, float(seen), "histogram")


def _number(value: float) -> str:
    if value == inf:
        return "+Inf"
    if value == -inf:
        return "-Inf"
    if value != value:  # the only number that differs from itself
        return "NaN"
    return str(int(value)) if abs(value) < 1e15 and value == int(value) else repr(value)


def _render_labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    inner = ",".join(f'{name}="{_escape_label(value)}"' for name, value in labels.items())
    return "{" + inner + "}"


def _escape_label(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _escape_help(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n")
