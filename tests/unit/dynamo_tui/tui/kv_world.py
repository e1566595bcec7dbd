"""The KV router of the world: hit rates that warm up, decisions, workers and hot prefixes."""

from __future__ import annotations

import math

import msgspec

from dynamod.schema import HitRate, KvCandidate, KvDecision, KvPrefix, KvSnapshot, KvWorker, Series
from tests.unit.dynamo_tui.tui.world import NOW, WORKERS


def hit_ratio(t: float, worker: int | None = None) -> float:
    """A hit rate that warms up and then breathes."""
    age = t - (NOW - 500)
    warm = 1 - math.exp(-max(age, 0) / 120)
    return max(0.0, min(1.0, 0.86 * warm + 0.05 * math.sin(t / 17 + (worker or 0) * 1.7) - 0.03 * (worker or 0)))


def decision(seq: int, t: float) -> KvDecision:
    chosen = seq % 4
    prompt, overlap = 128, 104 - 8 * (seq % 5)
    candidates = [
        KvCandidate(
            worker=WORKERS[i],
            overlap_blocks=overlap if i == chosen else max(0, overlap - 30 - 10 * i),
            active_blocks=400 + 100 * i,
            cost=0.31 + 0.4 * abs(i - chosen),
        )
        for i in range(4)
    ]
    return KvDecision(
        seq=seq,
        t=t,
        request_id=f"r{seq}",
        worker=WORKERS[chosen],
        mode="kv",
        prompt_blocks=prompt,
        overlap_blocks=overlap,
        best_overlap_blocks=overlap + (6 if seq % 7 == 0 else 0),
        candidates=candidates,
        actual_cached_blocks=overlap - 1,
    )


def kv_snapshot(t: float = NOW, seq: int = 40) -> KvSnapshot:
    def rate(ratio: float, requests: int) -> HitRate:
        asked = requests * 128
        reused = round(asked * ratio)
        return HitRate(
            requests=requests,
            blocks_asked=asked,
            blocks_reused=reused,
            ratio_of_sums=reused / asked,
            mean_of_ratios=ratio - 0.01,
        )

    workers = [
        KvWorker(
            worker=w,
            replica=f"agg_router-vllmworker-{i + 1}",
            active_requests=3 - i % 3,
            waiting_requests=1 if i == 2 else 0,
            active_blocks=412 + 160 * i,
            cached_blocks=3_000 + 250 * i,
            total_blocks=4_096,
            cache_usage=(3_000 + 250 * i) / 4_096,
            predicted=rate(hit_ratio(t, i), 180 + i),
            actual=rate(hit_ratio(t, i) - 0.01, 180 + i),
        )
        for i, w in enumerate(WORKERS)
    ]
    return KvSnapshot(
        graph="agg_router",
        t=t,
        window_s=60,
        seq=seq,
        block_size=16,
        mode="kv",
        predicted=rate(hit_ratio(t), 742),
        actual=rate(hit_ratio(t) - 0.012, 742),
        avoidable_blocks=310,
        avoidable_share=0.0033,
        workers=workers,
        decisions=[decision(n, t - (seq - n) * 0.7) for n in range(max(0, seq - 20), seq + 1)],
        prefixes=[KvPrefix(prefix=f"{h:012x}", blocks=b, requests=n, workers=WORKERS[:k]) for h, b, n, k in HOT],
    )


HOT = [(0x9C12AA31F0, 96, 211, 2), (0x1B77D2E410, 80, 154, 1), (0x44C0FFEE12, 64, 97, 3)]


def past_snapshot(t: float) -> KvSnapshot:
    """What is retained of an earlier time: hit rates, not what workers held and did."""
    whole = kv_snapshot(t)
    workers = [
        KvWorker(worker=w.worker, replica=w.replica, predicted=w.predicted, actual=w.actual) for w in whole.workers
    ]
    return msgspec.structs.replace(whole, seq=0, workers=workers, decisions=[], prefixes=[])


def kv_series(by: str = "graph") -> list[Series]:
    times = [NOW - 600 + 5 * i for i in range(120)]
    out = []
    for worker in WORKERS if by == "worker" else [None]:
        index = WORKERS.index(worker) if worker else None
        for name, less in (("hit_rate_predicted", 0.0), ("hit_rate_actual", 0.012)):
            points = [(t, hit_ratio(t, index) - less if t > NOW - 500 else None) for t in times]
            out.append(Series(name=name, labels={"worker": worker} if worker else {}, points=points))
    return out
