"""vLLM's own figures as an `EngineLoad`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynamo.llm.engines.base import EngineLoad


def stat_logger(load: EngineLoad) -> Callable[..., Any]:
    """A factory of vLLM stat loggers that keep `load` current.

    vLLM calls `record` after engine steps only; prefix-cache figures come as differences, in tokens.
    """
    from vllm.v1.metrics.loggers import StatLoggerBase

    class LoadLogger(StatLoggerBase):  # type: ignore[misc]
        def __init__(self, vllm_config: Any, *_index: int, **_named: int) -> None:
            load.request_slots = vllm_config.scheduler_config.max_num_seqs

        def record(self, scheduler_stats: Any, *_rest: Any, **_more: Any) -> None:
            if scheduler_stats is None:
                return
            load.running_requests = scheduler_stats.num_running_reqs
            load.waiting_requests = scheduler_stats.num_waiting_reqs + getattr(
                scheduler_stats, "num_skipped_waiting_reqs", 0
            )
            load.cache_usage = scheduler_stats.kv_cache_usage
            load.active_blocks = round(scheduler_stats.kv_cache_usage * load.total_blocks)
            prefix = scheduler_stats.prefix_cache_stats
            if prefix is not None:
                load.prefix_queries_tokens += prefix.queries
                load.prefix_hits_tokens += prefix.hits

        def log_engine_initialized(self) -> None:
            pass

    return LoadLogger
