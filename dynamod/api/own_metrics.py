"""The daemon's own metrics, read when somebody asks."""

from __future__ import annotations

import time
from collections import Counter

from dynamo.runtime.metrics import Registry
from dynamo.runtime.process_metrics import add_process_metrics
from dynamod.api.backend import Backend
from dynamod.schema import Replica

PAGE = 1000


async def own_metrics(backend: Backend) -> str:
    """Prometheus text: process, graphs and replicas by state, events, streams that are followed."""
    registry = Registry()
    add_process_metrics(registry)
    about = backend.about()
    registry.gauge("dynamod_info", "Version of the daemon.", ("version", "api_version")).labels(
        about.version, about.api_version
    ).set(1)
    registry.gauge("dynamod_uptime_seconds", "Since the daemon started.").labels().set(
        time.time() - about.started_at.timestamp()
    )
    registry.counter("dynamod_events_total", "Events recorded; the feed's last sequence number.").labels().inc(
        about.last_seq
    )
    registry.gauge("dynamod_metric_streams", "Replicas whose metrics are followed.").labels().set(
        backend.observers.metrics.following
    )
    await _count_graphs(backend, registry)
    await _count_replicas(backend, registry)
    return registry.render()


async def _count_graphs(backend: Backend, registry: Registry) -> None:
    family = registry.gauge("dynamod_graphs", "Graphs by state.", ("state",))
    after: str | None = None
    while True:
        page = await backend.engine.graphs(None, after=after, limit=PAGE)
        for state, count in Counter(graph.state for graph in page.items).items():
            family.labels(state).inc(count)
        after = page.next
        if after is None:
            return


async def _count_replicas(backend: Backend, registry: Registry) -> None:
    labels = ("project", "graph", "service")
    by_state = registry.gauge("dynamod_replicas", "Replicas by state.", (*labels, "state"))
    restarts = registry.gauge("dynamod_replica_restarts", "Restarts in the present budget windows.", labels)
    after: str | None = None
    while True:
        page = await backend.engine.replicas(None, None, None, after=after, limit=PAGE)
        for replica in page.items:
            by_state.labels(*_place(replica), replica.state).inc()
            restarts.labels(*_place(replica)).inc(replica.restarts)
        after = page.next
        if after is None:
            return


def _place(replica: Replica) -> tuple[str, str, str]:
    return replica.project, replica.graph, replica.service
