"""OpenTelemetry, when the application uses it: a span per served request, W3C trace context on the wire.

Without the package, or without a tracer provider, nothing here runs per request; a `traceparent` that
arrives is passed on all the same (https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from dynamo.runtime.context import RequestContext

try:
    from opentelemetry import trace as _trace
    from opentelemetry.context import attach
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    _installed = False
else:
    _installed = True
    _propagator = TraceContextTextMapPropagator()


def active() -> bool:
    """Whether the application has set a tracer provider. Asked once per endpoint and client, when it is made."""
    return _installed and not isinstance(_trace.get_tracer_provider(), _trace.ProxyTracerProvider)


def begin_span(context: RequestContext) -> Span:
    """A server span below the caller's, made current in the serving task: what the handler does is below it."""
    parent = _propagator.extract({"traceparent": context.traceparent}) if context.traceparent else None
    attributes = {"rpc.system": "dynamo", "rpc.method": context.endpoint, "dynamo.request_id": context.id}
    tracer = _trace.get_tracer("dynamo.runtime")
    span = tracer.start_span(context.endpoint, context=parent, kind=_trace.SpanKind.SERVER, attributes=attributes)
    if span.is_recording():
        inside = _trace.set_span_in_context(span)
        context.traceparent = _carry(inside)
        attach(inside)  # for the serving task alone: its context ends with it
    return span


def end_span(span: Span, items: int, error: str) -> None:
    span.set_attribute("dynamo.items", items)
    if error:
        span.set_status(_trace.StatusCode.ERROR, error)
    span.end()


def ambient_traceparent() -> str:
    """The span that the calling code runs in, as a W3C header; "" without one."""
    return _carry(None)


def _carry(context: Any) -> str:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context=context)
    return carrier.get("traceparent", "")
