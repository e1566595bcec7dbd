"""One graph's KV routing as its routers tell it: entries of the feed in, snapshots and series out.

The entries are those of the replica contract: `config`, `worker`, `gone`, `decision`, `actual` and `prefix`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import msgspec

from dynamod.observe.kv.window import KEPT_S, HitRateWindow, Tally
from dynamod.schema import HitRate, KvDecision, KvPrefix, KvSnapshot, KvWorker, Series

DECISIONS_KEPT = 200
PREFIXES_SHOWN = 20
PENDING_ACTUALS = 10_000
DEFAULT_WINDOW_S = 60.0

ReplicaOf = Callable[[str], str | None]
"""From an instance id in hex to a replica's id."""


class _Actual(msgspec.Struct, frozen=True):
    request_id: str
    worker: str
    prompt_blocks: int
    cached_blocks: int


class _Config(msgspec.Struct, frozen=True):
    block_size: int | None = None
    mode: str = ""


class KvPicture:
    """Grows with every entry; `changed` counts them, so that a watcher can tell whether anything is new."""

    def __init__(self, graph: str, replica_of: ReplicaOf) -> None:
        self._graph = graph
        self._replica_of = replica_of
        self._window = HitRateWindow()
        self._config = _Config()
        self._workers: dict[str, KvWorker] = {}
        self._prefixes: dict[str, KvPrefix] = {}
        self._decisions: deque[KvDecision] = deque(maxlen=DECISIONS_KEPT)
        self._actuals: OrderedDict[str, int] = OrderedDict()
        self._seen: dict[str, int] = {}
        self.changed = 0
        self.last_seq = 0

    def apply(self, entry: dict[str, Any], now: float, source: str = "") -> KvDecision | None:
        """Take one entry of the router `source`; returns the decision when it is a new one.

        Entries of an unknown kind are left alone. A decision that was told before (in the snapshot of a feed
        that was taken up again) counts once.

        Raises:
            ValueError: an entry that lacks what its kind promises.
        """
        kind = entry.get("kind")
        try:
            if kind == "decision":
                return self._decided(msgspec.convert(entry, KvDecision, strict=False), source)
            if kind == "actual":
                self._measured(msgspec.convert(entry, _Actual, strict=False), now)
            elif kind == "worker":
                worker = msgspec.convert(entry, KvWorker, strict=False)
                self._workers[worker.worker] = worker
            elif kind == "gone":
                self._workers.pop(str(entry.get("worker")), None)
            elif kind == "prefix":
                prefix = msgspec.convert(entry, KvPrefix, strict=False)
                self._prefixes[prefix.prefix] = prefix
            elif kind == "config":
                self._config = msgspec.convert(entry, _Config, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(f"unreadable {kind!r} entry of a KV feed: {error}") from None
        self.changed += 1
        return None

    def restart(self) -> None:
        """A feed starts over with a fresh snapshot: forget what it will tell again, keep the history."""
        self._workers.clear()
        self._prefixes.clear()

    def snapshot(self, now: float, window_s: float = DEFAULT_WINDOW_S) -> KvSnapshot:
        totals = self._window.totals(now - window_s, now)
        workers = []
        names = {*self._workers, *totals.predicted, *totals.actual} - {""}
        for name in sorted(names):
            known = self._workers.get(name, KvWorker(worker=name))
            workers.append(
                msgspec.structs.replace(
                    known,
                    replica=self._replica_of(name),
                    predicted=_rate_of(totals.predicted, name),
                    actual=_rate_of(totals.actual, name),
                )
            )
        hottest = sorted(self._prefixes.values(), key=lambda prefix: -prefix.requests)[:PREFIXES_SHOWN]
        return KvSnapshot(
            graph=self._graph,
            t=now,
            window_s=window_s,
            seq=self.last_seq,
            block_size=self._config.block_size,
            mode=self._config.mode,
            predicted=_rate_of(totals.predicted, ""),
            actual=_rate_of(totals.actual, ""),
            avoidable_blocks=totals.avoidable,
            avoidable_share=totals.avoidable_share,
            workers=workers,
            decisions=[self._with_actual(decision) for decision in self._decisions],
            prefixes=hottest,
        )

    def series(self, since: float, until: float, step: float, worker: str | None = None) -> list[Series]:
        """Hit rates (both definitions, predicted and actual) and requests per second over time."""
        since = max(since, until - KEPT_S)
        steps = self._window.steps(since, until, step, worker or "")
        labels = {"worker": worker} if worker else {}
        columns: dict[str, list[tuple[float, float | None]]] = {}
        for end, predicted, actual in steps:
            for source, rate in (("predicted", predicted.hit_rate()), ("actual", actual.hit_rate())):
                columns.setdefault(f"hit_rate_{source}", []).append((end, rate.ratio_of_sums))
                columns.setdefault(f"hit_rate_{source}_mean", []).append((end, rate.mean_of_ratios))
            columns.setdefault("decisions", []).append((end, predicted.requests / step))
        return [
            Series(name=name, unit="1/s" if name == "decisions" else "ratio", labels=labels, points=points)
            for name, points in columns.items()
        ]

    def _decided(self, decision: KvDecision, source: str) -> KvDecision | None:
        if decision.seq <= self._seen.get(source, -1):
            return None
        self._seen[source] = decision.seq
        self._decisions.append(decision)
        self.last_seq = max(self.last_seq, decision.seq)
        self._window.predicted(
            decision.t,
            decision.worker,
            asked=decision.prompt_blocks,
            reused=decision.overlap_blocks,
            best=decision.best_overlap_blocks,
        )
        self.changed += 1
        return decision

    def _measured(self, actual: _Actual, now: float) -> None:
        self._window.actual(now, actual.worker, asked=actual.prompt_blocks, reused=actual.cached_blocks)
        self._actuals[actual.request_id] = actual.cached_blocks
        while len(self._actuals) > PENDING_ACTUALS:
            self._actuals.popitem(last=False)

    def _with_actual(self, decision: KvDecision) -> KvDecision:
        cached = self._actuals.get(decision.request_id)
        return decision if cached is None else msgspec.structs.replace(decision, actual_cached_blocks=cached)


def _rate_of(tallies: dict[str, Tally], key: str) -> HitRate:
    return tallies.get(key, Tally()).hit_rate()
