"""What the dashboard knows: one picture, fed by snapshots and events, read by every widget.

Pure state. Whoever feeds it calls a method; what changed is collected as topics, which the app takes
at most twice a second and hands to the views on screen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import msgspec

from dynamo_tui.tui.history import Point, Track
from dynamod.schema import (
    Action,
    DaemonInfo,
    Event,
    Gpu,
    Graph,
    KvDecision,
    KvSnapshot,
    Replica,
    ReplicaState,
    Series,
    ServiceRates,
)

EVENTS_KEPT = 2_000
DECISIONS_KEPT = 500


class GraphKey(NamedTuple):
    project: str
    name: str

    def __str__(self) -> str:
        return self.name if self.project == "default" else f"{self.project}/{self.name}"


class Topic(StrEnum):
    LINK = "link"
    GRAPHS = "graphs"
    REPLICAS = "replicas"
    EVENTS = "events"
    RATES = "rates"
    KV = "kv"
    GPUS = "gpus"
    CLOCK = "clock"
    """Nothing changed but the time: ages and countdowns move."""


class Link(StrEnum):
    """The connection to the daemon."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost"
    REPLAY = "replay"
    PAST = "past"
    """The daemon is asked for what was."""


@dataclass
class KvFeed:
    """A graph's KV routing: the newest snapshot, the latest decisions, and the rates over time.

    Tracks are keyed by worker id; `""` is the graph as a whole.
    """

    snapshot: KvSnapshot | None = None
    decisions: deque[KvDecision] = field(default_factory=lambda: deque(maxlen=DECISIONS_KEPT))
    predicted: dict[str, Track] = field(default_factory=dict)
    actual: dict[str, Track] = field(default_factory=dict)
    load: dict[str, Track] = field(default_factory=dict)


RateKey = tuple[str, str | None]
"""A service, and one replica of it or None for all of them."""


class Store:
    """The picture. Not thread safe: one event loop owns it."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.on_change = on_change
        self.info: DaemonInfo | None = None
        self.link = Link.CONNECTING
        self.link_message = ""
        self.seq = 0
        self.graphs: dict[GraphKey, Graph] = {}
        self.replicas: dict[GraphKey, dict[str, Replica]] = {}
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self.rates: dict[GraphKey, dict[RateKey, ServiceRates]] = {}
        self.rate_tracks: dict[tuple[GraphKey, RateKey, str], Track] = {}
        self.kv: dict[GraphKey, KvFeed] = {}
        self.gpus: list[Gpu] | None = None
        self._changed: set[Topic] = set()

    # -- what changed ---------------------------------------------------------------------------------------

    def touch(self, *topics: Topic) -> None:
        self._changed.update(topics)
        self.on_change()

    def take_changes(self) -> frozenset[Topic]:
        """The topics that changed since the last call."""
        changed = frozenset(self._changed)
        self._changed.clear()
        return changed

    # -- snapshots ------------------------------------------------------------------------------------------

    def set_link(self, link: Link, message: str = "") -> None:
        if (link, message) != (self.link, self.link_message):
            self.link, self.link_message = link, message
            self.touch(Topic.LINK)

    def set_snapshot(self, info: DaemonInfo, graphs: Iterable[Graph], replicas: Iterable[Replica], seq: int) -> None:
        """Replace the whole picture of graphs and replicas, as it was at `seq`."""
        self.info = info
        self.seq = seq
        self.graphs = {GraphKey(g.project, g.name): g for g in graphs}
        self.replicas = {}
        for replica in replicas:
            self.replicas.setdefault(GraphKey(replica.project, replica.graph), {})[replica.id] = replica
        self.touch(Topic.LINK, Topic.GRAPHS, Topic.REPLICAS)

    def set_gpus(self, gpus: list[Gpu]) -> None:
        if gpus != self.gpus:
            self.gpus = gpus
            self.touch(Topic.GPUS)

    def add_past_events(self, events: Iterable[Event]) -> None:
        """Events from before the snapshot, to be read, not applied."""
        known = {e.seq for e in self.events}
        merged = sorted([*self.events, *(e for e in events if e.seq not in known)], key=lambda e: e.seq)
        self.events = deque(merged, maxlen=EVENTS_KEPT)
        self.touch(Topic.EVENTS)

    # -- events ---------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Move the picture on by one event; one that it already holds changes nothing."""
        if event.seq <= self.seq:
            return
        self.seq = event.seq
        self.events.append(event)
        topics = {Topic.EVENTS}
        if event.project is not None and event.graph is not None:
            topics |= self._apply_to_graph(GraphKey(event.project, event.graph), event)
        self.touch(*topics)

    def _apply_to_graph(self, key: GraphKey, event: Event) -> set[Topic]:
        match event.action:
            case Action.GRAPH_REMOVED:
                for held in (self.graphs, self.replicas, self.rates, self.kv):
                    held.pop(key, None)
                self.rate_tracks = {k: v for k, v in self.rate_tracks.items() if k[0] != key}
                return {Topic.GRAPHS, Topic.REPLICAS}
            case Action.REPLICA_REMOVED:
                if event.replica is not None:
                    self.replicas.get(key, {}).pop(event.replica, None)
                return {Topic.REPLICAS}
        topics: set[Topic] = set()
        match changed_object(event):
            case Graph() as graph:
                self.graphs[key] = graph
                topics.add(Topic.GRAPHS)
            case Replica() as replica:
                self.replicas.setdefault(key, {})[replica.id] = replica
                topics.add(Topic.REPLICAS)
        return topics

    # -- observations ---------------------------------------------------------------------------------------

    def apply_rates(self, key: GraphKey, rates: Iterable[ServiceRates], t: float) -> None:
        """What services and replicas do at `t`; each figure is also kept as a track."""
        held = self.rates.setdefault(key, {})
        held.clear()
        for one in rates:
            rate_key = (one.service, one.replica)
            held[rate_key] = one
            for name in RATE_FIELDS:
                value = getattr(one, name)
                if value is None:
                    continue
                self.rate_track(key, rate_key, name).add(t, value)
        self.touch(Topic.RATES)

    def merge_rates_history(self, key: GraphKey, past: Mapping[tuple[RateKey, str], Iterable[Point]]) -> None:
        """Put retained figures, by service or replica and by field, in front of what is held."""
        for (rate_key, name), points in past.items():
            self.rate_track(key, rate_key, name).prepend(points)
        self.touch(Topic.RATES)

    def rate_track(self, key: GraphKey, rate_key: RateKey, name: str) -> Track:
        return self.rate_tracks.setdefault((key, rate_key, name), Track())

    def kv_feed(self, key: GraphKey) -> KvFeed:
        return self.kv.setdefault(key, KvFeed())

    def apply_kv_snapshot(self, key: GraphKey, snapshot: KvSnapshot) -> None:
        feed = self.kv_feed(key)
        feed.snapshot = snapshot
        # A snapshot may know more of a decision than was known when it was made: what was cached in fact.
        known = {d.seq: d for d in (*feed.decisions, *snapshot.decisions)}
        feed.decisions = deque((known[seq] for seq in sorted(known)), maxlen=DECISIONS_KEPT)
        feed.predicted.setdefault("", Track()).add(snapshot.t, snapshot.predicted.ratio_of_sums)
        feed.actual.setdefault("", Track()).add(snapshot.t, snapshot.actual.ratio_of_sums)
        for worker in snapshot.workers:
            feed.predicted.setdefault(worker.worker, Track()).add(snapshot.t, worker.predicted.ratio_of_sums)
            feed.actual.setdefault(worker.worker, Track()).add(snapshot.t, worker.actual.ratio_of_sums)
            feed.load.setdefault(worker.worker, Track()).add(snapshot.t, float(worker.active_blocks))
        self.touch(Topic.KV)

    def apply_kv_decision(self, key: GraphKey, decision: KvDecision) -> None:
        feed = self.kv_feed(key)
        if feed.decisions and decision.seq <= feed.decisions[-1].seq:
            return
        feed.decisions.append(decision)
        self.touch(Topic.KV)

    def merge_kv_history(self, key: GraphKey, series: Iterable[Series]) -> None:
        """Put retained hit rates in front of what is held; a `worker` label means one worker."""
        feed = self.kv_feed(key)
        tracks = {"hit_rate_predicted": feed.predicted, "hit_rate_actual": feed.actual}
        for one in series:
            if (held := tracks.get(one.name)) is not None:
                held.setdefault(one.labels.get("worker", ""), Track()).prepend(one.points)
        self.touch(Topic.KV)

    # -- reading --------------------------------------------------------------------------------------------

    def replicas_of(self, key: GraphKey, service: str | None = None) -> list[Replica]:
        """A graph's replicas by service and index."""
        held = self.replicas.get(key, {}).values()
        return sorted(
            (r for r in held if service is None or r.service == service), key=lambda r: (r.service, r.index, r.id)
        )

    def replica(self, key: GraphKey, replica_id: str) -> Replica | None:
        return self.replicas.get(key, {}).get(replica_id)

    def ready_count(self, key: GraphKey, service: str) -> int:
        held = self.replicas.get(key, {}).values()
        return sum(1 for r in held if r.service == service and r.state is ReplicaState.READY)


RATE_FIELDS = tuple(f for f in ServiceRates.__struct_fields__ if f not in ("service", "replica"))


def next_retry_in(replica: Replica, now: float) -> float | None:
    """Seconds until a backing-off replica is tried again."""
    return None if replica.next_retry_at is None else max(0.0, replica.next_retry_at.timestamp() - now)


def changed_object(event: Event) -> Graph | Replica | None:
    """The graph or replica that an event carries; None where it carries neither, or one of a newer shape."""
    try:
        if "entry" in event.data:
            return msgspec.convert(event.data, type=Graph)
        if "index" in event.data:
            return msgspec.convert(event.data, type=Replica)
    except msgspec.ValidationError:
        pass  # a newer daemon's: the next snapshot has it as this program can read it
    return None
