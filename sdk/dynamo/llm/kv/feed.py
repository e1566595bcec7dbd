"""A router's feed for people: decisions, what became of them, and the workers, at the endpoint `kv_feed`.

The entries are maps with the field names of the replica contract (docs/internals/replica-contract.md). They are
made only while somebody reads, and for the newest decisions when a reader begins.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from dynamo.llm.kv.decision import Actual, Decision, Observer
from dynamo.llm.kv.router import KvRouter
from dynamo.llm.kv.workers import Worker
from dynamo.runtime.events import SnapshotPublisher

if TYPE_CHECKING:
    from dynamo.runtime.component import Component, ServedEndpoint

FEED_ENDPOINT = "kv_feed"
DECISIONS_KEPT = 200
PREFIXES_TOLD = 20
PREFIXES_COUNTED = 2000
WORKER_INTERVAL = 1.0
"""Seconds between two entries of one worker."""

Entry = dict[str, Any]


def decision_entry(decision: Decision, seq: int, t: float) -> Entry:
    """A decision with the field names of the wire model's `KvDecision`."""
    return {
        "kind": "decision",
        "seq": seq,
        "t": t,
        "request_id": decision.request_id,
        "worker": decision.worker.label,
        "mode": decision.mode,
        "prompt_blocks": decision.prompt_blocks,
        "overlap_blocks": decision.overlap_blocks,
        "best_overlap_blocks": decision.best_overlap_blocks,
        "candidates": [
            {
                "worker": candidate.worker.label,
                "overlap_blocks": candidate.overlap_blocks,
                "active_blocks": candidate.active_blocks,
                "cost": candidate.cost,
                "eligible": candidate.eligible,
            }
            for candidate in decision.candidates
        ],
    }


class KvFeed(Observer):
    """Observes `router` from its construction on; `serve` makes the endpoint."""

    def __init__(self, router: KvRouter) -> None:
        self._router = router
        self._seq = 0
        self._recent: deque[tuple[int, float, Decision]] = deque(maxlen=DECISIONS_KEPT)
        self._actual: deque[Entry] = deque(maxlen=DECISIONS_KEPT)
        self._told: dict[Worker, float] = {}
        self._prefixes: Counter[tuple[int, int]] = Counter()
        self._prefixes_told = 0.0
        self._publisher = SnapshotPublisher(self._snapshot)
        router.observers.append(self)

    async def serve(self, component: Component) -> ServedEndpoint:
        """Serve the feed under `component`. Raises `DiscoveryError`."""
        return await self._publisher.serve(component.endpoint(FEED_ENDPOINT))

    def close(self) -> None:
        """Stop observing."""
        self._router.observers.remove(self)

    # -- what the router tells -----------------------------------------------------------------------------------

    def decided(self, decision: Decision) -> None:
        self._seq += 1
        now = time.time()
        self._recent.append((self._seq, now, decision))
        self._count_prefix(decision)
        if not self._publisher.readers:
            return
        entries = [decision_entry(decision, self._seq, now)]
        if now - self._prefixes_told >= WORKER_INTERVAL:
            self._prefixes_told = now
            entries.extend(self._prefix_entries())
        self._publisher.publish(entries)

    def cached(self, actual: Actual) -> None:
        entry = {
            "kind": "actual",
            "request_id": actual.request_id,
            "worker": actual.worker.label,
            "prompt_blocks": actual.prompt_blocks,
            "cached_blocks": actual.cached_blocks,
        }
        self._actual.append(entry)
        self._publisher.publish([entry])

    def worker_changed(self, worker: Worker, *, gone: bool) -> None:
        if gone:
            self._told.pop(worker, None)
            self._publisher.publish([{"kind": "gone", "worker": worker.label}])
            return
        now = time.monotonic()
        if now - self._told.get(worker, float("-inf")) >= WORKER_INTERVAL:
            self._told[worker] = now
            if self._publisher.readers:
                self._publisher.publish([self._worker_entry(worker)])

    # -- entries ---------------------------------------------------------------------------------------------------

    def _snapshot(self) -> list[Entry]:
        options = self._router.options
        return [
            {"kind": "config", "block_size": options.block_size, "mode": options.mode},
            *(self._worker_entry(worker) for worker in self._router.workers),
            *(decision_entry(decision, seq, t) for seq, t, decision in self._recent),
            *self._actual,
            *self._prefix_entries(),
        ]

    def _worker_entry(self, worker: Worker) -> Entry:
        router = self._router
        slot = router.table.slot(worker)
        load = router.scheduler.reported.latest.get(slot)
        index = router.approx.index if router.options.mode == "approx-kv" else router.index
        entry: Entry = {
            "kind": "worker",
            "worker": worker.label,
            "active_requests": int(router.active.requests[slot]),
            "active_blocks": int(router.active.held_blocks[slot]),
            "cached_blocks": index.blocks_of(worker),
        }
        if load is not None:
            entry["active_requests"] = max(entry["active_requests"], load.running_requests + load.waiting_requests)
            entry["waiting_requests"] = load.waiting_requests
            entry["active_blocks"] = load.active_blocks
            entry["total_blocks"] = load.total_blocks or None
            entry["cache_usage"] = load.cache_usage
        return entry

    def _count_prefix(self, decision: Decision) -> None:
        """Count what was reused: the prefix that ends with the last block that some worker held."""
        depth = decision.best_overlap_blocks
        if depth:
            self._prefixes[int(decision.hashes[depth - 1]), depth] += 1
            if len(self._prefixes) > PREFIXES_COUNTED:
                self._prefixes = Counter(dict(self._prefixes.most_common(PREFIXES_COUNTED // 2)))

    def _prefix_entries(self) -> list[Entry]:
        return [
            {
                "kind": "prefix",
                "prefix": f"{name:016x}",
                "blocks": blocks,
                "requests": count,
                "workers": sorted(worker.label for worker in self._router.index.match([name]).scores()),
            }
            for (name, blocks), count in self._prefixes.most_common(PREFIXES_TOLD)
        ]
