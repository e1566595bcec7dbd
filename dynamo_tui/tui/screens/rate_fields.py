"""The figures of `ServiceRates`: what each is called on screen, and how it reads."""

from __future__ import annotations

from collections.abc import Callable

from dynamo_tui.tui import figures

RATE_FORMATS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "requests_per_s": ("requests/s", figures.number),
    "errors_per_s": ("errors/s", figures.number),
    "in_flight": ("in flight", figures.number),
    "queue_depth": ("queued", figures.number),
    "latency_p50_s": ("latency p50", figures.duration),
    "latency_p95_s": ("latency p95", figures.duration),
    "latency_p99_s": ("latency p99", figures.duration),
    "ttft_p50_s": ("ttft p50", figures.duration),
    "ttft_p95_s": ("ttft p95", figures.duration),
    "itl_p50_s": ("itl p50", figures.duration),
    "cache_usage": ("cache usage", figures.percent),
    "hit_rate": ("hit rate", figures.percent),
    "cpu_cores": ("cpu", figures.cores),
    "rss_bytes": ("memory", figures.memory),
    "open_files": ("open files", figures.number),
}
"""By field name, in the order of the screen."""
