"""The latest samples of a graph's replicas as Prometheus text.

https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4)
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from dynamod.observe.metrics.samples import ReplicaSamples, SeriesKey, Value
from dynamod.observe.metrics.store import Owner

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


def render(replicas: Iterable[tuple[Owner, ReplicaSamples]]) -> str:
    """All series, grouped by name, with `project`, `graph`, `service` and `replica` as further labels."""
    by_name: dict[str, tuple[str, list[str]]] = {}
    for owner, samples in replicas:
        for key, value in samples.latest.items():
            kind = samples.kinds[key]
            _, lines = by_name.setdefault(key[0], (kind, []))
            lines.extend(_lines(key, value, samples.bounds.get(key, ()), owner))
    return "".join(
        f"# TYPE {name} {kind}\n" + "\n".join(lines) + "\n" for name, (kind, lines) in sorted(by_name.items())
    )


def sample_line(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    """One line of the text format."""
    inner = ",".join(f'{label}="{_escape(text)}"' for label, text in labels)
    return f"{name}{{{inner}}} {_number(value)}" if inner else f"{name} {_number(value)}"


def _lines(key: SeriesKey, value: Value, bounds: tuple[float, ...], owner: Owner) -> Iterable[str]:
    name, labels = key
    project, _, graph = owner.graph.partition("/")
    ours: Labels = (
        ("project", project),
        ("graph", graph),
        ("service", owner.service),
        ("replica", owner.replica),
        *labels,
    )
    if not isinstance(value, tuple):
        yield sample_line(name, ours, value)
        return
    for bound, count in zip(bounds, value[1:], strict=True):
        yield sample_line(f"{name}_bucket", (*ours, ("le", _number(bound))), count)
    yield sample_line(f"{name}_sum", ours, value[0])
    yield sample_line(f"{name}_count", ours, value[-1])


def _number(value: float) -> str:
    if value in (inf, -inf):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if abs(value) < 1e15 and value == int(value) else repr(value)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
