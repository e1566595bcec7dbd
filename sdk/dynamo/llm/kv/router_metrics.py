"""A router's counters for Prometheus, and its `kv-hit-rate` event for each decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamo.llm.kv.decision import Actual, Decision, Observer

if TYPE_CHECKING:
    from dynamo.runtime.metrics import Registry
    from dynamo.runtime.pubsub import Publisher

HIT_RATE_SUBJECT = "kv-hit-rate"


class RouterMetrics(Observer):
    """`dynamo_kv_*` of docs/internals/replica-contract.md. Ratios are left to whoever divides two rates."""

    def __init__(self, registry: Registry) -> None:
        self._asked = registry.counter("dynamo_kv_asked_blocks_total", "Full blocks of routed prompts.").labels()
        self._overlap = registry.counter(
            "dynamo_kv_overlap_blocks_total", "Blocks that the router predicted to be cached at the chosen worker."
        ).labels()
        self._actual = registry.counter(
            "dynamo_kv_actual_blocks_total", "Blocks that the engines took from their caches."
        ).labels()
        self._avoidable = registry.counter(
            "dynamo_kv_avoidable_blocks_total", "Blocks to be computed that another eligible worker held."
        ).labels()
        self._decisions = registry.counter("dynamo_kv_decisions_total", "Routing decisions.", ["mode"])

    def decided(self, decision: Decision) -> None:
        self._asked.inc(decision.prompt_blocks)
        self._overlap.inc(decision.overlap_blocks)
        self._avoidable.inc(decision.avoidable_blocks)
        self._decisions.labels(decision.mode).inc()

    def cached(self, actual: Actual) -> None:
        self._actual.inc(actual.cached_blocks)


class HitRateEvents(Observer):
    """Publishes `{worker_id, isl_blocks, overlap_blocks}` for every decision, as the SDK-era router did."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def decided(self, decision: Decision) -> None:
        if self._publisher.subscribers:
            self._publisher.publish(
                {
                    "worker_id": decision.worker.instance,
                    "isl_blocks": decision.prompt_blocks,
                    "overlap_blocks": decision.overlap_blocks,
                }
            )
