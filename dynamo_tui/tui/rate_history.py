"""The past of the figures on screen: `ServiceRates` fields made from the retained series of a graph's metrics.

The daemon sends each figure only as it is now. What it retains are the metrics behind them
(docs/internals/replica-contract.md); they are put together here as the daemon does for the present.
A figure that cannot be had from them has no past.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dynamo_tui.tui.history import Point
from dynamo_tui.tui.store import RateKey
from dynamod.schema import Series

REQUESTS = "dynamo_endpoint_requests_total"
ERRORS = "dynamo_endpoint_errors_total"
HTTP_REQUESTS = "dynamo_http_requests_total"
IN_FLIGHT = "dynamo_endpoint_in_flight"
QUEUED = "dynamo_endpoint_queue_depth"
WAITING = "dynamo_engine_waiting_requests"
DURATION = "dynamo_endpoint_duration_seconds"
HTTP_DURATION = "dynamo_http_duration_seconds"
TTFT = "dynamo_llm_ttft_seconds"
ITL = "dynamo_llm_itl_seconds"
CACHE_USAGE = "dynamo_engine_cache_usage"
PREFIX_HITS = "dynamo_engine_prefix_hits_tokens_total"
PREFIX_QUERIES = "dynamo_engine_prefix_queries_tokens_total"
CPU = "process_cpu_seconds_total"
RSS = "process_resident_memory_bytes"
OPEN_FILES = "process_open_fds"

NAMES = frozenset(
    (
        *(REQUESTS, ERRORS, HTTP_REQUESTS, IN_FLIGHT, QUEUED, WAITING, DURATION, HTTP_DURATION, TTFT, ITL),
        *(CACHE_USAGE, PREFIX_HITS, PREFIX_QUERIES, CPU, RSS, OPEN_FILES),
    )
)
"""What to ask for, one series per service and labels."""

_FEEDS = frozenset({"kv_feed", "kv_events", "kv_load", "kv_active"})
"""Endpoints whose streams stay open for as long as someone listens: they are no requests of a user."""

Values = dict[float, float]
"""A figure by time; a time without a value is not in it."""


def past_rates(series: Iterable[Series]) -> dict[tuple[RateKey, str], list[Point]]:
    """Points of each service, or replica where the series name one, and field of `ServiceRates`, in order of time."""
    by_owner: dict[RateKey, list[Series]] = {}
    for one in series:
        if one.labels.get("endpoint") not in _FEEDS:
            by_owner.setdefault((one.labels.get("service", ""), one.labels.get("replica")), []).append(one)
    past: dict[tuple[RateKey, str], list[Point]] = {}
    for owner, held in by_owner.items():
        for field, make in _FIELDS.items():
            if values := make(held):
                past[owner, field] = [(t, values[t]) for t in sorted(values)]
    return past


def _total(held: Sequence[Series], *names: str, status: str = "") -> Values:
    """The sum of all series of these names, at each time at which one of them has a value."""
    total: Values = {}
    for one in held:
        if one.name in names and one.labels.get("status", "").startswith(status):
            for t, value in one.points:
                if value is not None:
                    total[t] = total.get(t, 0.0) + value
    return total


def _errors(held: Sequence[Series]) -> Values:
    """Errors of endpoints and answers 5xx; none where there were requests and no counter of errors yet."""
    errors = _total(held, ERRORS)
    for t, value in _total(held, HTTP_REQUESTS, status="5").items():
        errors[t] = errors.get(t, 0.0) + value
    return {t: errors.get(t, 0.0) for t in _total(held, REQUESTS, HTTP_REQUESTS).keys() | errors.keys()}


def _quantile(held: Sequence[Series], quantile: str, *names: str) -> Values:
    """The first of these histograms that there is. Quantiles cannot be added: several label sets give nothing."""
    for name in names:
        found = [one for one in held if one.name == name and one.labels.get("quantile") == quantile]
        if found:
            return {t: v for t, v in found[0].points if v is not None} if len(found) == 1 else {}
    return {}


def _share(held: Sequence[Series], part: str, whole: str) -> Values:
    parts, wholes = _total(held, part), _total(held, whole)
    return {t: parts[t] / asked for t, asked in wholes.items() if asked and t in parts}


_FIELDS: dict[str, Callable[[Sequence[Series]], Values]] = {
    "requests_per_s": lambda held: _total(held, REQUESTS, HTTP_REQUESTS),
    "errors_per_s": _errors,
    "in_flight": lambda held: _total(held, IN_FLIGHT),
    "queue_depth": lambda held: _total(held, QUEUED, WAITING),
    "latency_p50_s": lambda held: _quantile(held, "0.5", HTTP_DURATION, DURATION),
    "latency_p95_s": lambda held: _quantile(held, "0.95", HTTP_DURATION, DURATION),
    "latency_p99_s": lambda held: _quantile(held, "0.99", HTTP_DURATION, DURATION),
    "ttft_p50_s": lambda held: _quantile(held, "0.5", TTFT),
    "ttft_p95_s": lambda held: _quantile(held, "0.95", TTFT),
    "itl_p50_s": lambda held: _quantile(held, "0.5", ITL),
    "cache_usage": lambda held: _total(held, CACHE_USAGE),
    "hit_rate": lambda held: _share(held, PREFIX_HITS, PREFIX_QUERIES),
    "cpu_cores": lambda held: _total(held, CPU),
    "rss_bytes": lambda held: _total(held, RSS),
    "open_files": lambda held: _total(held, OPEN_FILES),
}
