"""Graphs, replicas and GPU claims as they were at any time of the event log.

Each event carries the object that it changed, so that an object's state at a time is that of its last event before.
A snapshot says what the log alone cannot: an object of which the log holds no event at all is unchanged since before
the log begins. Nothing is guessed: what was there before its first retained event is counted as unknown.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from dynamo_tui.tui.store import GraphKey, Link, Store, changed_object
from dynamo_tui.tui.tones import is_trouble
from dynamod.schema import Action, DaemonInfo, Event, Gpu, GpuClaim, GpuShare, Graph, Replica

T = TypeVar("T")


@dataclass
class _Line(Generic[T]):
    """One object over time. `whole`: its first state is known to have held since it was made."""

    seqs: list[int] = field(default_factory=list)
    states: list[T | None] = field(default_factory=list)
    whole: bool = False

    def add(self, seq: int, state: T | None) -> None:
        if not self.seqs or seq > self.seqs[-1]:
            self.seqs.append(seq)
            self.states.append(state)

    def at(self, seq: int) -> T | None:
        """Its state after event `seq`; None where it was not there, or is not known."""
        index = bisect_right(self.seqs, seq)
        if index:
            return self.states[index - 1]
        return self.states[0] if self.whole else None

    def knows(self, seq: int) -> bool:
        return self.whole or self.seqs[0] <= seq


class StateHistory:
    """Add events in order of their numbers, and between them the snapshot of its own."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        """Without the objects that they carry: those are noted, and thousands of events are held."""
        self._times: list[float] = []
        self._seq = 0
        self._graphs: dict[GraphKey, _Line[Graph]] = {}
        self._replicas: dict[str, _Line[Replica]] = {}
        self._claims: dict[tuple[str, str], _Line[GpuClaim]] = {}
        self._of_graph: dict[GraphKey, set[str]] = {}

    def add(self, events: Iterable[Event]) -> None:
        """Take in events, each with a number above all before it."""
        for event in events:
            self._note(event)
            t = event.at.timestamp()
            # The daemon's clock may have been set back: a later event is not before an earlier one.
            self._times.append(max(t, self._times[-1]) if self._times else t)
            self.events.append(msgspec.structs.replace(event, data={}))

    def know(self, graphs: Iterable[Graph], replicas: Iterable[Replica], seq: int, gpus: Iterable[Gpu] = ()) -> None:
        """Take in a snapshot, made when event `seq` was the last."""
        self._seq = seq
        for graph in graphs:
            self._known(self._graphs, GraphKey(graph.project, graph.name), seq, graph)
        for replica in replicas:
            self._of_graph.setdefault(GraphKey(replica.project, replica.graph), set()).add(replica.id)
            self._known(self._replicas, replica.id, seq, replica)
        for gpu in gpus:
            for claim in gpu.claimed:
                self._known(self._claims, (gpu.uuid, claim.replica), seq, claim)

    @staticmethod
    def _known(lines: dict[Any, _Line[Any]], key: object, seq: int, state: object) -> None:
        """A state out of the snapshot. Without an event before it, it has been so all along."""
        line = lines.setdefault(key, _Line())
        line.whole = line.whole or not line.seqs
        line.add(seq, state)

    def _note(self, event: Event) -> None:
        if event.action in (Action.GPU_CLAIMED, Action.GPU_RELEASED):
            self._note_claim(event)
            return
        if event.project is None or event.graph is None:
            return
        key = GraphKey(event.project, event.graph)
        if event.action is Action.GRAPH_REMOVED:
            self._graphs.setdefault(key, _Line()).add(event.seq, None)
            for replica_id in self._of_graph.get(key, ()):
                self._replicas[replica_id].add(event.seq, None)
            return
        if event.action is Action.REPLICA_REMOVED:
            if event.replica is not None:
                self._replicas.setdefault(event.replica, _Line()).add(event.seq, None)
            return
        match changed_object(event):
            case Graph() as graph:
                self._graphs.setdefault(key, _Line()).add(event.seq, graph)
            case Replica() as replica:
                self._of_graph.setdefault(key, set()).add(replica.id)
                self._replicas.setdefault(replica.id, _Line()).add(event.seq, replica)

    def _note_claim(self, event: Event) -> None:
        uuid, index, share = (event.data.get(name) for name in ("uuid", "index", "share"))
        if event.replica is None or not isinstance(uuid, str):
            return
        line = self._claims.setdefault((uuid, event.replica), _Line())
        if event.action is Action.GPU_RELEASED or not isinstance(index, int) or not isinstance(share, int | float):
            line.add(event.seq, None)
            return
        granted = GpuShare(uuid=uuid, index=index, share=float(share))
        line.add(event.seq, GpuClaim(replica=event.replica, graph=event.graph or "", share=granted))

    # -- reading --------------------------------------------------------------------------------------------

    def seq_at(self, t: float) -> int:
        """The sequence number of the last event up to `t`."""
        index = bisect_right(self._times, t)
        if index:
            return self.events[index - 1].seq
        return min(self._seq, self.events[0].seq - 1) if self.events else self._seq

    def events_until(self, t: float) -> Sequence[Event]:
        return self.events[: bisect_right(self._times, t)]

    def graphs_at(self, t: float) -> list[Graph]:
        seq = self.seq_at(t)
        return [g for line in self._graphs.values() if (g := line.at(seq)) is not None and _made(g, t)]

    def replicas_at(self, t: float) -> list[Replica]:
        seq = self.seq_at(t)
        return [r for line in self._replicas.values() if (r := line.at(seq)) is not None and _made(r, t)]

    def claims_at(self, t: float) -> dict[str, list[GpuClaim]]:
        """Claims by the device's uuid."""
        seq = self.seq_at(t)
        held: dict[str, list[GpuClaim]] = {}
        for (uuid, _), line in self._claims.items():
            if (claim := line.at(seq)) is not None:
                held.setdefault(uuid, []).append(claim)
        return held

    def unknown_at(self, t: float) -> int:
        """How many graphs and replicas were there at `t` in a state that the log does not hold any more."""
        seq = self.seq_at(t)
        lines: list[_Line[Any]] = [*self._graphs.values(), *self._replicas.values()]
        unknown = (line for line in lines if line.seqs and not line.knows(seq))
        return sum(1 for line in unknown if line.states[0] is None or _made(line.states[0], t))


def show_picture(store: Store, history: StateHistory, info: DaemonInfo, t: float, link: Link) -> None:
    """Fill a picture with what was there at `t`."""
    seq = history.seq_at(t)
    store.set_snapshot(msgspec.structs.replace(info, last_seq=seq), history.graphs_at(t), history.replicas_at(t), seq)
    store.set_link(link)


def troubles(events: Iterable[Event]) -> list[float]:
    """When something failed, in order of time."""
    return sorted(e.at.timestamp() for e in events if is_trouble(e))


def _made(one: Graph | Replica, t: float) -> bool:
    return one.created_at.timestamp() <= t
