"""What a service does right now: rates and quantiles over the last seconds, from values in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dynamod.observe.metrics.quantiles import increase, quantile
from dynamod.observe.metrics.samples import SeriesKey, Value
from dynamod.schema import ServiceRates

WINDOW_S = 10.0

REQUESTS = "dynamo_endpoint_requests_total"
ERRORS = "dynamo_endpoint_errors_total"
IN_FLIGHT = "dynamo_endpoint_in_flight"
QUEUED = "dynamo_endpoint_queue_depth"
DURATION = "dynamo_endpoint_duration_seconds"
HTTP_REQUESTS = "dynamo_http_requests_total"
HTTP_DURATION = "dynamo_http_duration_seconds"
TTFT = "dynamo_llm_ttft_seconds"
ITL = "dynamo_llm_itl_seconds"
CACHE_USAGE = "dynamo_engine_cache_usage"
WAITING = "dynamo_engine_waiting_requests"
PREFIX_HITS = "dynamo_engine_prefix_hits_tokens_total"
PREFIX_QUERIES = "dynamo_engine_prefix_queries_tokens_total"
OVERLAP_BLOCKS = "dynamo_kv_overlap_blocks_total"
ASKED_BLOCKS = "dynamo_kv_asked_blocks_total"
CPU_SECONDS = "process_cpu_seconds_total"
RSS = "process_resident_memory_bytes"
OPEN_FILES = "process_open_fds"

USED = frozenset(
    {
        REQUESTS,
        ERRORS,
        IN_FLIGHT,
        QUEUED,
        DURATION,
        HTTP_REQUESTS,
        HTTP_DURATION,
        TTFT,
        ITL,
        CACHE_USAGE,
        WAITING,
        PREFIX_HITS,
        PREFIX_QUERIES,
        OVERLAP_BLOCKS,
        ASKED_BLOCKS,
        CPU_SECONDS,
        RSS,
        OPEN_FILES,
    }
)
_FEEDS = frozenset({"kv_feed", "kv_events", "kv_load", "kv_active"})
"""Endpoints whose streams stay open for as long as someone listens: they are no requests of a user."""


@dataclass(frozen=True)
class Grown:
    """A histogram's growth over the window."""

    bounds: tuple[float, ...]
    counts: list[float]


class RecentValues:
    """The values of one replica's series over the window, one older value kept as the base line."""

    def __init__(self) -> None:
        self._history: dict[SeriesKey, deque[tuple[float, Value]]] = {}
        self._since: float | None = None

    def note(self, key: SeriesKey, t: float, value: Value, *, from_zero: bool) -> None:
        """`from_zero`: the series has just come into being, it did not exist before."""
        if key[0] not in USED:
            return
        self._since = t if self._since is None else self._since
        history = self._history.get(key)
        if history is None:
            history = self._history[key] = deque()
            if from_zero:
                history.append((t - 1.0, tuple(0.0 for _ in value) if isinstance(value, tuple) else 0.0))
        history.append((t, value))
        while len(history) > 1 and history[1][0] <= t - WINDOW_S:
            history.popleft()

    def last(self, name: str) -> list[float]:
        """The present values of all series of that name."""
        return [float(history[-1][1]) for key, history in self._of(name) if not isinstance(history[-1][1], tuple)]

    def rate(self, name: str, now: float, label: tuple[str, str] | None = None) -> float | None:
        """Increase per second over the window, all series of that name together (a label's value may begin so)."""
        total: float | None = None
        for key, history in self._of(name):
            if label is not None and not dict(key[1]).get(label[0], "").startswith(label[1]):
                continue
            before, after = self._ends(history, now)
            if isinstance(before, tuple) or isinstance(after, tuple):
                continue
            total = (total or 0.0) + (after - before if after >= before else after)
        return None if total is None else total / self.span(now)

    def grown(self, name: str, now: float) -> list[list[float]]:
        """Growth of the histograms' counts over the window."""
        grown = []
        for _, history in self._of(name):
            before, after = self._ends(history, now)
            if isinstance(before, tuple) and isinstance(after, tuple):
                grown.append(increase(before, after)[1:])
        return grown

    def span(self, now: float) -> float:
        """Seconds that a rate is taken over: the window, or less when the replica is younger."""
        return min(WINDOW_S, max(now - (self._since or now), 1.0))

    def _of(self, name: str) -> Iterable[tuple[SeriesKey, deque[tuple[float, Value]]]]:
        for key, history in self._history.items():
            if key[0] == name and dict(key[1]).get("endpoint") not in _FEEDS:
                yield key, history

    @staticmethod
    def _ends(history: deque[tuple[float, Value]], now: float) -> tuple[Value, Value]:
        """The value as it was when the window began (or the oldest known), and the present one."""
        base = history[0][1]
        for t, value in history:
            if t > now - WINDOW_S:
                break
            base = value
        return base, history[-1][1]


def service_rates(
    service: str,
    replicas: Sequence[RecentValues],
    bounds: dict[str, tuple[float, ...]],
    now: float,
    *,
    replica: str | None = None,
) -> ServiceRates:
    """The figures of some replicas together; `bounds` gives the buckets of each histogram name."""

    def rate(name: str, label: tuple[str, str] | None = None) -> float | None:
        return _sum(values.rate(name, now, label) for values in replicas)

    def gauge(name: str) -> float | None:
        return _sum(value for values in replicas for value in values.last(name))

    def quantiles(names: Sequence[str], wanted: Sequence[float]) -> list[float | None]:
        for name in names:
            merged = [counts for values in replicas for counts in values.grown(name, now)]
            merged = [counts for counts in merged if len(counts) == len(bounds.get(name, ()))]
            counts = [sum(column) for column in zip(*merged, strict=True)]
            if counts and counts[-1] > 0:
                return [quantile(q, bounds[name], counts) for q in wanted]
        return [None for _ in wanted]

    requests = _sum((rate(REQUESTS), rate(HTTP_REQUESTS)))
    errors = _sum((rate(ERRORS), rate(HTTP_REQUESTS, ("status", "5"))))
    usage = [value for values in replicas for value in values.last(CACHE_USAGE)]
    p50, p95, p99 = quantiles((HTTP_DURATION, DURATION), (0.5, 0.95, 0.99))
    ttft_p50, ttft_p95 = quantiles((TTFT,), (0.5, 0.95))
    (itl_p50,) = quantiles((ITL,), (0.5,))
    return ServiceRates(
        service=service,
        replica=replica,
        requests_per_s=requests,
        errors_per_s=0.0 if errors is None and requests is not None else errors,  # no error yet: no counter yet
        in_flight=gauge(IN_FLIGHT),
        queue_depth=_sum((gauge(QUEUED), gauge(WAITING))),
        latency_p50_s=p50,
        latency_p95_s=p95,
        latency_p99_s=p99,
        ttft_p50_s=ttft_p50,
        ttft_p95_s=ttft_p95,
        itl_p50_s=itl_p50,
        cache_usage=sum(usage) / len(usage) if usage else None,
        hit_rate=_share(rate(PREFIX_HITS), rate(PREFIX_QUERIES)) or _share(rate(OVERLAP_BLOCKS), rate(ASKED_BLOCKS)),
        cpu_cores=rate(CPU_SECONDS),
        rss_bytes=gauge(RSS),
        open_files=gauge(OPEN_FILES),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
