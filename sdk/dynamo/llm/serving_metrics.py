"""The frontend's metrics, under the names of the replica contract."""

from __future__ import annotations

from dynamo.runtime.metrics import Counter, Gauge, Histogram, Registry


class ModelMetrics:
    """One model's children, looked up once. TTFT and ITL in seconds; ITL counts tokens:
    those of one delta share the time since the last one equally."""

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


def requests_in_flight(registry: Registry) -> Gauge:
    """Requests that this frontend is answering."""
    return registry.gauge("dynamo_llm_requests_in_flight", "Requests being answered by this frontend.").labels()
