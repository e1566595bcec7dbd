"""The metrics and traces of served endpoints (names: see the replica contract)."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from dynamo.runtime.context import RequestContext
from dynamo.runtime.metrics import COUNT_BUCKETS, Registry
from dynamo.runtime.tracing import active, begin_span, end_span

_LABELS = ("component", "endpoint")


class EndpointMetrics:
    """The `Observer` of one endpoint."""

    __slots__ = (
        "_component",
        "_duration",
        "_endpoint",
        "_errors",
        "_in_flight",
        "_items",
        "_per_request",
        "_received",
        "_requests",
        "_sent",
        "_traced",
    )

    def __init__(self, registry: Registry, component: str, endpoint: str) -> None:
        self._traced = active()
        self._component = component
        self._endpoint = endpoint
        self._requests = registry.counter("dynamo_endpoint_requests_total", "Requests that began.", _LABELS).labels(
            component, endpoint
        )
        self._errors = registry.counter(
            "dynamo_endpoint_errors_total", "Requests that failed, by type of error.", (*_LABELS, "error")
        )
        self._in_flight = registry.gauge("dynamo_endpoint_in_flight", "Requests being served.", _LABELS).labels(
            component, endpoint
        )
        self._duration = registry.histogram(
            "dynamo_endpoint_duration_seconds", "From a request's arrival to the end of its answer.", _LABELS
        ).labels(component, endpoint)
        self._items = registry.counter("dynamo_endpoint_items_total", "Items that were sent.", _LABELS).labels(
            component, endpoint
        )
        self._sent = registry.counter("dynamo_endpoint_bytes_sent_total", "Encoded items.", _LABELS).labels(
            component, endpoint
        )
        self._received = registry.counter(
            "dynamo_endpoint_bytes_received_total", "Bytes of requests, as framed on the wire.", _LABELS
        ).labels(component, endpoint)
        self._per_request = registry.histogram(
            "dynamo_endpoint_items", "Items of one answer.", _LABELS, buckets=COUNT_BUCKETS
        ).labels(component, endpoint)

    def begin(self, context: RequestContext, /) -> tuple[float, Any]:
        self._requests.value += 1
        self._in_flight.value += 1
        self._received.value += context.received
        return perf_counter(), begin_span(context) if self._traced else None

    def end(self, token: tuple[float, Any], items: int, sent: int, error: str, /) -> None:
        began, span = token
        self._in_flight.value -= 1
        self._sent.value += sent
        self._duration.observe(perf_counter() - began)
        self._items.value += items
        self._per_request.observe(items)
        if error:
            self._errors.labels(self._component, self._endpoint, error).inc()
        if span is not None:
            end_span(span, items, error)
