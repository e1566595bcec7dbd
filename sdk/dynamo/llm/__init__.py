"""Serving language models: OpenAI frontend, tokenisation, KV routing, engines.

The names here are those that graphs of ai-dynamo 0.2-0.3 import from `dynamo.llm`; each is loaded when it is first
used. New code imports from the modules where things live.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamo.llm.compat.indexing import (
        ApproxKvIndexer,
        KvIndexer,
        KvMetricsAggregator,
        OverlapScores,
        RadixTree,
        compute_block_hash_for_seq_py,
    )
    from dynamo.llm.compat.publishing import KvEventPublisher, KvMetricsPublisher, WorkerMetricsPublisher
    from dynamo.llm.compat.stats import (
        AggregatedMetrics,
        EndpointKvMetrics,
        ForwardPassMetrics,
        KvStats,
        SpecDecodeStats,
        WorkerStats,
    )
    from dynamo.llm.registration import ModelType, register_llm

_HOMES = {
    "AggregatedMetrics": "compat.stats",
    "ApproxKvIndexer": "compat.indexing",
    "EndpointKvMetrics": "compat.stats",
    "ForwardPassMetrics": "compat.stats",
    "KvEventPublisher": "compat.publishing",
    "KvIndexer": "compat.indexing",
    "KvMetricsAggregator": "compat.indexing",
    "KvMetricsPublisher": "compat.publishing",
    "KvStats": "compat.stats",
    "ModelType": "registration",
    "OverlapScores": "compat.indexing",
    "RadixTree": "compat.indexing",
    "SpecDecodeStats": "compat.stats",
    "WorkerMetricsPublisher": "compat.publishing",
    "WorkerStats": "compat.stats",
    "compute_block_hash_for_seq_py": "compat.indexing",
    "register_llm": "registration",
}

__all__ = [
    "AggregatedMetrics",
    "ApproxKvIndexer",
    "EndpointKvMetrics",
    "ForwardPassMetrics",
    "KvEventPublisher",
    "KvIndexer",
    "KvMetricsAggregator",
    "KvMetricsPublisher",
    "KvStats",
    "ModelType",
    "OverlapScores",
    "RadixTree",
    "SpecDecodeStats",
    "WorkerMetricsPublisher",
    "WorkerStats",
    "compute_block_hash_for_seq_py",
    "register_llm",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
