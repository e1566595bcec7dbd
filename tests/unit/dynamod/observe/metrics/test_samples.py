from __future__ import annotations

from math import inf
from typing import Any

import pytest

from dynamo.runtime.metrics import Registry
from dynamo.runtime.process_metrics import add_process_metrics
from dynamod.observe.metrics.samples import ReplicaSamples


def message(registry: Registry, t: float, *, full: bool = True) -> dict[str, Any]:
    return {"t": t, "full": full, "samples": [list(sample) for sample in registry.samples()]}


def test_a_histogram_of_the_runtime_becomes_one_series() -> None:
    registry = Registry()
    family = registry.histogram("d_seconds", "…", ("endpoint",), buckets=(0.1, 1.0))
    for value in (0.05, 0.5, 0.5, 7.0):
        family.labels("generate").observe(value)
    samples = ReplicaSamples()
    changed = samples.apply(message(registry, 1.0))
    key = ("d_seconds", (("endpoint", "generate"),))
    assert list(changed) == [key]
    assert samples.bounds[key] == (0.1, 1.0, inf)
    assert samples.latest[key] == (8.05, 1.0, 3.0, 4.0)


def test_later_messages_change_only_what_they_name_and_tell_what_has_just_begun() -> None:
    registry = Registry()
    requests = registry.counter("r_total", "…", ("endpoint",))
    requests.labels("a").inc(5)
    samples = ReplicaSamples()
    assert list(samples.apply(message(registry, 1.0)).values()) == [False]
    changed = samples.apply({"t": 2.0, "full": False, "samples": [["r_total", {"endpoint": "b"}, 2, "counter"]]})
    assert changed == {("r_total", (("endpoint", "b"),)): True}
    changed = samples.apply({"t": 3.0, "full": False, "samples": [["r_total", {"endpoint": "a"}, 6, "counter"]]})
    assert changed == {("r_total", (("endpoint", "a"),)): False}
    assert samples.latest["r_total", (("endpoint", "a"),)] == 6.0


def test_the_type_that_was_sent_tells_counters_from_gauges_whatever_their_names() -> None:
    registry = Registry()
    add_process_metrics(registry)
    registry.gauge("dynamo_engine_kv_blocks_total", "…").labels().set(1024)
    samples = ReplicaSamples()
    samples.apply(message(registry, 1.0))
    assert samples.kinds["process_cpu_seconds_total", ()] == "counter"
    assert samples.kinds["dynamo_engine_kv_blocks_total", ()] == "gauge"


@pytest.mark.parametrize("bad", [{}, {"t": 1, "samples": 7}, {"t": 1, "samples": [[1]]}, {"t": "x", "samples": []}])
def test_nonsense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ReplicaSamples().apply(bad)
