"""The collector over a real runtime: a process that serves, discovery, and the metrics stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from dynamo.runtime import DistributedRuntime, ReplicaStatus
from dynamo.runtime.metrics import Registry
from dynamod.core.errors import Invalid
from dynamod.observe.metrics.collector import MetricsCollector
from dynamod.observe.metrics.exposition import render
from dynamod.observe.metrics.file import MetricsFile
from dynamod.observe.presence import Presence
from dynamod.observe.streams import ReplicaStreams
from dynamod.schema import ServiceRates

GRAPH = "default/hello"


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[DistributedRuntime]:
    runtime = await DistributedRuntime.connect("memory://", scope=GRAPH, run_dir=tmp_path / "run", metrics=Registry())
    try:
        yield runtime
    finally:
        await runtime.shutdown()


@pytest.fixture
async def collector(replica: DistributedRuntime, tmp_path: Path) -> AsyncIterator[MetricsCollector]:
    presence, file = Presence(replica.discovery), MetricsFile(tmp_path / "metrics.db")
    made = MetricsCollector(file, presence, ReplicaStreams(replica.plane).metrics)
    tasks = [asyncio.ensure_future(presence.run()), asyncio.ensure_future(made.run())]
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await file.close()


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(20):
        while not (value := condition()):
            await asyncio.sleep(0.02)
        return value


async def serve(runtime: DistributedRuntime) -> None:
    async def generate(payload: Any) -> AsyncIterator[Any]:
        yield payload

    await runtime.namespace("default").component("Worker").endpoint("generate").serve_endpoint(generate)
    await runtime.report(ReplicaStatus(replica_id="w-1", service="Worker", pid=1, host="h", state="ready"))


async def call(runtime: DistributedRuntime, times: int) -> None:
    client = await runtime.namespace("default").component("Worker").endpoint("generate").client()
    for n in range(times):
        assert await (await client.generate(n)).one() == n
    await client.close()


async def test_what_a_replica_does_is_seen_as_rates_and_as_history(
    replica: DistributedRuntime, collector: MetricsCollector
) -> None:
    await serve(replica)
    await until(lambda: collector.following)
    before = time.time()
    await call(replica, 50)

    def busy() -> ServiceRates | None:
        found = [rates for rates in collector.rates(GRAPH) if rates.replica is None and rates.requests_per_s]
        return found[0] if found else None

    rates = await until(busy)
    assert rates.service == "Worker"
    assert rates.latency_p50_s is not None
    assert rates.rss_bytes > 1e6
    assert [r.replica for r in collector.rates(GRAPH)] == [None, "w-1"]
    assert collector.rates("default/other") == []

    name = "dynamo_endpoint_requests_total"
    assert name in await collector.names(GRAPH)
    (series,) = await collector.series(GRAPH, name, since=before - 5, until=time.time() + 3, step=1.0)
    assert series.labels == {"component": "Worker", "endpoint": "generate", "service": "Worker", "replica": "w-1"}
    assert sum(value for _, value in series.points if value) == pytest.approx(50.0)
    text = render(collector.latest(GRAPH))
    labels = 'project="default",graph="hello",service="Worker",replica="w-1",component="Worker",endpoint="generate"'
    assert f"dynamo_endpoint_requests_total{{{labels}}} 50\n" in text
    assert 'le="+Inf"} 50\n' in text


async def test_a_replica_that_goes_is_followed_no_more_and_its_series_end(
    replica: DistributedRuntime, collector: MetricsCollector
) -> None:
    await serve(replica)
    await until(lambda: collector.following)
    await replica.discovery.delete_prefix("/dynamo/")
    await until(lambda: not collector.following)
    assert collector.rates(GRAPH) == []
    (series,) = await collector.series(
        GRAPH, "process_open_fds", since=time.time() - 10, until=time.time() + 5, step=1.0
    )
    assert any(value for _, value in series.points)
    assert series.points[-1][1] is None


async def test_a_question_for_too_many_points_is_refused(collector: MetricsCollector) -> None:
    with pytest.raises(Invalid, match="too many"):
        await collector.series(GRAPH, "x", since=0.0, until=1e6, step=1.0)
    with pytest.raises(Invalid):
        await collector.series(GRAPH, "x", since=2.0, until=1.0, step=1.0)
