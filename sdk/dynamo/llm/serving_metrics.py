"""The frontend's metrics, under the names of the replica contract."""

from __future__ import annotations

from dynamo.runtime.metrics import Counter, Gauge, Histogram, Registry


class ModelMetrics:
    """One model's children, looked up once. TTFT and ITL in seconds; ITL is per token of each delta."""

    __slots__ = ("itl", "output_tokens", "prompt_tokens", "ttft")

    def __init__(self, registry: Registry, model: str) -> None:
        labels = ("model",)
        self.ttft: Histogram = registry.histogram(
            "dynamo_llm_ttft_seconds", "From the request's arrival to its first token.", labels
        ).labels(model)
        self.itl: Histogram = registry.histogram(
            "dynamo_llm_itl_seconds", "Between tokens of one answer.", labels
        ).labels(model)
        self.prompt_tokens: Counter = registry.counter(
            "dynamo_llm_prompt_tokens_total", "Prompt tokens of answered requests.", labels
        ).labels(model)
        self.output_tokens: Counter = registry.counter(
            "dynamo_llm_output_tokens_total", "Tokens generated.", labels
        ).labels(model)


class HttpMetrics:
    """Requests by route, method and status, and how long they took."""

    def __init__(self, registry: Registry) -> None:
        self._requests = registry.counter(
            "dynamo_http_requests_total", "HTTP requests answered.", ("route", "method", "status")
        )
        self._duration = registry.histogram(
            "dynamo_http_duration_seconds", "From request to the end of the answer.", ("route",)
        )
        self.in_flight: Gauge = registry.gauge(
            "dynamo_llm_requests_in_flight", "Requests being answered by this frontend."
        ).labels()

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method, str(status)).inc()
        self._duration.labels(route).observe(seconds)
