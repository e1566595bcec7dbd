"""Logs, metrics, GPUs and the KV router's figures on the wire.

Samples and log lines carry `t`, seconds since the epoch as a float: they are many, and only compared.
"""

from __future__ import annotations

import msgspec

from dynamod.schema.graphs import GpuShare


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a replica's output. `line` counts from 0 over the life of the replica, restarts included."""

    t: float
    replica: str
    service: str
    line: int
    level: str = ""
    text: str


class LogGap(msgspec.Struct, frozen=True, kw_only=True, tag="gap"):
    """Lines that were not delivered because the reader was too slow."""

    skipped: int


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over time: `points` are [t, value]; counters come as rates per second."""

    name: str
    unit: str = ""
    labels: dict[str, str] = {}
    points: list[tuple[float, float | None]] = []


class MetricSample(msgspec.Struct, frozen=True, kw_only=True):
    """The latest value of one metric of one replica."""

    t: float
    graph: str
    service: str
    replica: str
    name: str
    labels: dict[str, str] = {}
    value: float


class ServiceRates(msgspec.Struct, frozen=True, kw_only=True):
    """What a service does right now. None means that nothing measured it."""

    service: str
    replica: str | None = None
    requests_per_s: float | None = None
    errors_per_s: float | None = None
    in_flight: float | None = None
    queue_depth: float | None = None
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    itl_p50_s: float | None = None
    cache_usage: float | None = None
    hit_rate: float | None = None
    cpu_cores: float | None = None
    rss_bytes: float | None = None
    open_files: float | None = None


class GpuProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process that NVML sees on a device. `replica` is None for one that is not ours."""

    pid: int
    memory_bytes: int
    replica: str | None = None


class GpuClaim(msgspec.Struct, frozen=True, kw_only=True):
    replica: str
    graph: str
    share: GpuShare


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One device in three ledgers: claimed (database), granted (visible devices), observed (NVML)."""

    uuid: str
    index: int
    name: str
    memory_total_bytes: int
    memory_used_bytes: int | None = None
    utilisation: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    numa_node: int | None = None
    links: dict[str, int] = {}
    simulated: bool = False
    claimed: list[GpuClaim] = []
    granted: list[str] = []
    observed: list[GpuProcess] = []
    conditions: list[str] = []


class HitRate(msgspec.Struct, frozen=True, kw_only=True):
    """Both definitions, never mixed. Ratios are None while nothing was asked.

    `ratio_of_sums` is blocks reused / blocks asked over the window; `mean_of_ratios` is the mean over
    requests of each one's ratio.
    """

    requests: int = 0
    blocks_asked: int = 0
    blocks_reused: int = 0
    ratio_of_sums: float | None = None
    mean_of_ratios: float | None = None


class KvCandidate(msgspec.Struct, frozen=True, kw_only=True):
    worker: str
    overlap_blocks: int
    active_blocks: int
    cost: float
    eligible: bool = True


class KvDecision(msgspec.Struct, frozen=True, kw_only=True):
    """One routing decision. `worker` names an instance id in hex, as in discovery."""

    seq: int
    t: float
    request_id: str
    worker: str
    mode: str
    prompt_blocks: int
    overlap_blocks: int
    best_overlap_blocks: int
    candidates: list[KvCandidate] = []
    actual_cached_blocks: int | None = None


class KvWorker(msgspec.Struct, frozen=True, kw_only=True):
    worker: str
    replica: str | None = None
    active_requests: int = 0
    waiting_requests: int = 0
    active_blocks: int = 0
    cached_blocks: int = 0
    total_blocks: int | None = None
    cache_usage: float | None = None
    predicted: HitRate = HitRate()
    actual: HitRate = HitRate()


class KvPrefix(msgspec.Struct, frozen=True, kw_only=True):
    """A hot prefix: how often it was asked for in the window, and who holds it."""

    prefix: str
    blocks: int
    requests: int
    workers: list[str] = []


class KvSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A graph's KV routing over the last `window_s` seconds. `seq` is the last decision's."""

    graph: str
    t: float
    window_s: float
    seq: int
    block_size: int | None = None
    mode: str = ""
    predicted: HitRate
    actual: HitRate
    avoidable_blocks: int = 0
    avoidable_share: float | None = None
    workers: list[KvWorker] = []
    decisions: list[KvDecision] = []
    prefixes: list[KvPrefix] = []
