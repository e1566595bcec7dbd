"""One graph's KV routing as its routers tell it: entries of the feed in, snapshots out.

The entries are those of the replica contract: `config`, `worker`, `gone`, `decision`, `actual` and `prefix`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from dynamod.observe.kv.window import HitRateWindow, Second, Tally
from dynamod.schema import HitRate, KvDecision, KvPrefix, KvSnapshot, KvWorker

DECISIONS_KEPT = 200
PREFIXES_SHOWN = 20
REQUESTS_KEPT = 10_000
DEFAULT_WINDOW_S = 60.0

V = TypeVar("V")
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
        self._counted: OrderedDict[str, float] = OrderedDict()
        self._written_until = 0.0
        self.changed = 0
        self.last_seq = 0

    def apply(
        self, entry: dict[str, Any], now: float, source: str = "", *, repeated: bool = False
    ) -> KvDecision | None:
        """Take one entry of the router `source`; returns the decision when it is a new one.

        Entries of an unknown kind are left alone. What was told before counts once: `repeated` says that the entry
        stands in the snapshot that a feed begins with.

        Raises:
            ValueError: an entry that lacks what its kind promises.
        """
        kind = entry.get("kind")
        try:
            if kind == "decision":
                return self._decided(msgspec.convert(entry, KvDecision, strict=False), source, repeated)
            if kind == "actual":
                self._measured(msgspec.convert(entry, _Actual, strict=False), now, repeated)
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
        except (msgspec.ValidationError, OverflowError) as error:
            raise ValueError(f"unreadable {kind!r} entry of a KV feed: {error}") from None
        self.changed += 1
        return None

    def restart(self) -> None:
        """A feed starts over with a fresh snapshot: forget what it will tell again, keep the history."""
        self._workers.clear()
        self._prefixes.clear()

    def remember(self, past: Iterable[Second], written_until: float) -> None:
        """Take up the figures of an earlier daemon, whose last decision that is in them was at `written_until`."""
        self._window.remember(past)
        self._written_until = written_until
        self.changed += 1

    def take_unwritten(self) -> list[Second]:
        """The sums that are new since the last call, for the history."""
        return self._window.take_unwritten()

    def snapshot(self, now: float, window_s: float = DEFAULT_WINDOW_S) -> KvSnapshot:
        """The routers as they are, and their figures over the last `window_s` seconds."""
        totals = self._window.totals(now - window_s, now)
        hottest = sorted(self._prefixes.values(), key=lambda prefix: -prefix.requests)[:PREFIXES_SHOWN]
        return msgspec.structs.replace(
            self._figures(totals, self._workers, now, window_s),
            seq=self.last_seq,
            decisions=[self._with_actual(decision) for decision in self._decisions],
            prefixes=hottest,
        )

    def snapshot_of_past(self, totals: Second, at: float, window_s: float) -> KvSnapshot:
        """Figures up to `at`, out of the history, with those of the kept decisions that had been made by then.

        What workers held and were doing then is not known, and left out.
        """
        decisions = [self._with_actual(decision) for decision in self._decisions if decision.t <= at]
        return msgspec.structs.replace(
            self._figures(totals, {}, at, window_s),
            seq=max((decision.seq for decision in decisions), default=0),
            decisions=decisions,
        )

    def _figures(self, totals: Second, workers: dict[str, KvWorker], at: float, window_s: float) -> KvSnapshot:
        names = {*workers, *totals.predicted, *totals.actual} - {""}
        return KvSnapshot(
            graph=self._graph,
            t=at,
            window_s=window_s,
            seq=0,
            block_size=self._config.block_size,
            mode=self._config.mode,
            predicted=_rate_of(totals.predicted, ""),
            actual=_rate_of(totals.actual, ""),
            avoidable_blocks=totals.avoidable,
            avoidable_share=totals.avoidable_share,
            workers=[
                msgspec.structs.replace(
                    workers.get(name, KvWorker(worker=name)),
                    replica=self._replica_of(name),
                    predicted=_rate_of(totals.predicted, name),
                    actual=_rate_of(totals.actual, name),
                )
                for name in sorted(names)
            ],
        )

    def _decided(self, decision: KvDecision, source: str, repeated: bool) -> KvDecision | None:
        if decision.seq <= self._seen.get(source, -1):
            return None
        self._seen[source] = decision.seq
        self._decisions.append(decision)
        self.last_seq = max(self.last_seq, decision.seq)
        self.changed += 1
        if repeated and decision.t <= self._written_until:
            return decision  # an earlier daemon counted it
        self._window.predicted(
            decision.t,
            decision.worker,
            asked=decision.prompt_blocks,
            reused=decision.overlap_blocks,
            best=decision.best_overlap_blocks,
        )
        _put_bounded(self._counted, decision.request_id, decision.t)
        return decision

    def _measured(self, actual: _Actual, now: float, repeated: bool) -> None:
        counted = repeated and (actual.request_id in self._actuals or actual.request_id not in self._counted)
        if not counted:
            at = self._counted.get(actual.request_id, now) if repeated else now
            self._window.actual(at, actual.worker, asked=actual.prompt_blocks, reused=actual.cached_blocks)
        _put_bounded(self._actuals, actual.request_id, actual.cached_blocks)

    def _with_actual(self, decision: KvDecision) -> KvDecision:
        cached = self._actuals.get(decision.request_id)
        return decision if cached is None else msgspec.structs.replace(decision, actual_cached_blocks=cached)


def _rate_of(tallies: dict[str, Tally], key: str) -> HitRate:
    return tallies.get(key, Tally()).hit_rate()


def _put_bounded(known: OrderedDict[str, V], request_id: str, value: V) -> None:
    """Remember something of a request, and forget the oldest one's when there are too many."""
    known[request_id] = value
    while len(known) > REQUESTS_KEPT:
        known.popitem(last=False)
