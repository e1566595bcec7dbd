"""The load figures of ai-dynamo 0.2-0.3, as its workers published and its routers read them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from dynamo.llm.engines.base import EngineLoad

_RATE_UNIT = 1_000_000
"""Old workers report a prefix hit *rate*; it travels as hits per this many queries."""


@dataclass
class WorkerStats:
    request_active_slots: int
    request_total_slots: int
    num_requests_waiting: int
    data_parallel_rank: int | None = None


@dataclass
class KvStats:
    kv_active_blocks: int
    kv_total_blocks: int
    gpu_cache_usage_perc: float
    gpu_prefix_cache_hit_rate: float


@dataclass
class SpecDecodeStats:
    num_spec_tokens: int
    num_drafts: int
    num_draft_tokens: int
    num_accepted_tokens: int
    num_accepted_tokens_per_pos: list[int]


@dataclass
class ForwardPassMetrics:
    worker_stats: WorkerStats
    kv_stats: KvStats
    spec_decode_stats: SpecDecodeStats | None = None

    def to_load(self) -> EngineLoad:
        worker, kv = self.worker_stats, self.kv_stats
        return EngineLoad(
            running_requests=worker.request_active_slots,
            waiting_requests=worker.num_requests_waiting,
            request_slots=worker.request_total_slots,
            active_blocks=kv.kv_active_blocks,
            total_blocks=kv.kv_total_blocks,
            cache_usage=kv.gpu_cache_usage_perc,
            prefix_queries_tokens=_RATE_UNIT,
            prefix_hits_tokens=round(kv.gpu_prefix_cache_hit_rate * _RATE_UNIT),
        )


@dataclass(frozen=True)
class EndpointKvMetrics:
    """One worker's figures, as `AggregatedMetrics.endpoints` lists them."""

    worker_id: int
    request_active_slots: int
    request_total_slots: int
    kv_active_blocks: int
    kv_total_blocks: int
    num_requests_waiting: int
    gpu_cache_usage_perc: float
    gpu_prefix_cache_hit_rate: float

    @classmethod
    def of(cls, worker_id: int, load: EngineLoad) -> EndpointKvMetrics:
        queries = load.prefix_queries_tokens
        return cls(
            worker_id=worker_id,
            request_active_slots=load.running_requests,
            request_total_slots=load.request_slots,
            kv_active_blocks=load.active_blocks,
            kv_total_blocks=load.total_blocks,
            num_requests_waiting=load.waiting_requests,
            gpu_cache_usage_perc=load.cache_usage,
            gpu_prefix_cache_hit_rate=load.prefix_hits_tokens / queries if queries else 0.0,
        )


@dataclass(frozen=True)
class AggregatedMetrics:
    """The figures of all workers; load is the number of active KV blocks."""

    endpoints: list[EndpointKvMetrics] = field(default_factory=list)

    @property
    def load_avg(self) -> float:
        return statistics.fmean(self._loads()) if self.endpoints else 0.0

    @property
    def load_std(self) -> float:
        return statistics.pstdev(self._loads()) if self.endpoints else 0.0

    def _loads(self) -> list[int]:
        return [endpoint.kv_active_blocks for endpoint in self.endpoints]
