"""One change of the control state: new records, the events that tell of them, and one transaction for both."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from dynamod.core.records import ClaimRecord, GraphRecord, ReplicaRecord, RevisionRecord
from dynamod.engine.feed import Feed
from dynamod.engine.memory import Memory
from dynamod.engine.views import graph_view, replica_view
from dynamod.schema.events import Event
from dynamod.schema.secrecy import redact_text
from dynamod.schema.states import Action, Reason
from dynamod.store import tables
from dynamod.store.changes import Draft, Transaction
from dynamod.store.database import Store

ENGINE = "engine"


class Turn:
    """Collects changes to one graph on top of memory; `commit` makes them true, all or none.

    Reads through a turn see its own changes. Whoever makes turns for a graph holds that graph's lock.
    """

    def __init__(self, memory: Memory, graph_id: str, now: float, actor: str = ENGINE) -> None:
        self._memory = memory
        self._graph_id = graph_id
        self.now = now
        self.actor = actor
        self.transaction = Transaction()
        self._graph: GraphRecord | None = memory.graphs.get(graph_id)
        self._stored_graph = self._graph
        self._revisions: dict[int, RevisionRecord] = {}
        self._replicas: dict[str, ReplicaRecord | None] = {}
        self._last: dict[str, ReplicaRecord] = {}
        self._claims: dict[tuple[str, int], ClaimRecord | None] = {}
        self._notes: list[tuple[Action, Reason | None, str, str | None, str | None, dict[str, Any]]] = []
        self._removed = False

    @property
    def graph(self) -> GraphRecord:
        if self._graph is None:
            raise LookupError(f"graph {self._graph_id} is gone")
        return self._graph

    @property
    def replicas(self) -> list[ReplicaRecord]:
        known = {record.id: record for record in self._memory.of_graph(self._graph_id)}
        merged = {**known, **self._replicas}
        return [record for record in merged.values() if record is not None]

    @property
    def revisions(self) -> dict[int, RevisionRecord]:
        return {**self._memory.revisions.get(self._graph_id, {}), **self._revisions}

    def replica(self, replica_id: str) -> ReplicaRecord | None:
        if replica_id in self._replicas:
            return self._replicas[replica_id]
        return self._memory.replicas.get(replica_id)

    def put_graph(self, record: GraphRecord) -> None:
        if record != self._graph:
            self._graph = replace(record, version=record.version + 1, updated_at=self.now)

    def create_graph(self, record: GraphRecord) -> None:
        self._graph = record

    def put_revision(self, record: RevisionRecord) -> None:
        self._revisions[record.number] = record
        self.note(Action.REVISION_CREATED, None, record.cause, data={"number": record.number, "digest": record.digest})

    def put_replica(self, record: ReplicaRecord) -> None:
        before = self.replica(record.id)
        if record != before:
            self._replicas[record.id] = _without_secrets(record, before)

    def remove_replica(self, replica_id: str) -> None:
        if (last := self.replica(replica_id)) is not None:
            self._last[replica_id] = last
        self._replicas[replica_id] = None

    def remove_graph(self) -> None:
        self._removed = True

    def claim(self, record: ClaimRecord) -> None:
        self._claims[record.uuid, record.slot] = record

    def release(self, record: ClaimRecord) -> None:
        self._claims[record.uuid, record.slot] = None

    def note(
        self,
        action: Action,
        reason: Reason | None,
        message: str = "",
        *,
        service: str | None = None,
        replica: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """An event beside those that follow from changed records."""
        self._notes.append((action, reason, message, service, replica, data or {}))

    async def commit(self, store: Store, feed: Feed) -> bool:
        """Write it; whether there was anything to write. Memory and feed follow in the same step of the loop.

        Raises:
            EngineError: it could not be written, and nothing has changed.
        """
        self._fill()
        if not self.transaction:
            return False
        await store.commit(self.transaction, lambda events: self._written(feed, events))
        return True

    def _written(self, feed: Feed, events: list[Event]) -> None:
        memory = self._memory
        if self._graph is not None:
            memory.put_graph(self._graph)
            memory.revisions.setdefault(self._graph_id, {}).update(self._revisions)
        for replica_id, record in self._replicas.items():
            if record is None:
                memory.drop_replica(replica_id)
            else:
                memory.put_replica(record)
        for key, claim in self._claims.items():
            if claim is None:
                memory.claims.pop(key, None)
            else:
                memory.claims[key] = claim
        if self._removed:
            memory.forget_graph(self._graph_id)
        feed.publish(events)

    def _fill(self) -> None:
        """Turn the collected changes into operations and events, the graph's row first (others refer to it)."""
        before = self._stored_graph
        if self._graph is not None and self._graph != before and not self._removed:
            if before is None:
                row = {"name": self._graph.project, "created_at": self.now}
                self.transaction.ensure_row(tables.projects, row)
            self.transaction.put(self._graph)
        for revision in self._revisions.values():
            self.transaction.put(revision)
        for claim_key, claim in self._claims.items():
            if claim is None or claim_key in self._memory.claims:
                uuid, slot = claim_key
                self.transaction.delete(tables.gpu_claims, uuid=uuid, slot=slot)
        for claim_key, claim in self._claims.items():
            if claim is not None:
                self.transaction.claim(claim)
                if (
                    before_claim := self._memory.claims.get(claim_key)
                ) is None or before_claim.replica_id != claim.replica_id:
                    self._claim_event(claim)
        for replica_id, record in self._replicas.items():
            self._fill_replica(replica_id, record)
        for action, reason, message, service, replica, data in self._notes:
            self._event(action, reason, message, service=service, replica=replica, data=data or self._graph_data())
        if self._removed:
            self.transaction.delete(tables.graphs, id=self._graph_id)
            self._event(Action.GRAPH_REMOVED, Reason.REMOVE_REQUESTED, "", data={})
        elif self._graph is not None and before is not None:
            now = self._graph
            if (now.state, now.reason, now.message) != (before.state, before.reason, before.message):
                self._event(Action.GRAPH_STATE, now.reason, now.message, data=self._graph_data())

    def _fill_replica(self, replica_id: str, record: ReplicaRecord | None) -> None:
        before = self._memory.replicas.get(replica_id)
        if record is None:
            if before is not None:
                self.transaction.delete(tables.replicas, id=replica_id)
                self._replica_event(Action.REPLICA_REMOVED, self._last.get(replica_id, before))
            return
        self.transaction.put(record)
        if before is None:
            self._replica_event(Action.REPLICA_CREATED, record)
        elif (record.state, record.reason, record.message, record.pid, record.address) != (
            before.state,
            before.reason,
            before.message,
            before.pid,
            before.address,
        ):
            self._replica_event(Action.REPLICA_STATE, record)
        elif record.progress != before.progress:
            self._replica_event(Action.REPLICA_PROGRESS, record)

    def _replica_event(self, action: Action, record: ReplicaRecord) -> None:
        self.transaction.event(
            Draft(
                at=self.now,
                actor=self.actor,
                action=action,
                project=record.project,
                graph=record.graph,
                service=record.service,
                replica=record.id,
                reason=record.reason,
                message=record.message or record.progress,
                data=msgspec.to_builtins(replica_view(record)),
            )
        )

    def _claim_event(self, claim: ClaimRecord) -> None:
        record = self.replica(claim.replica_id)
        self.transaction.event(
            Draft(
                at=self.now,
                actor=self.actor,
                action=Action.GPU_CLAIMED,
                project=self.graph.project,
                graph=self.graph.name,
                service=record.service if record is not None else None,
                replica=claim.replica_id,
                message=f"GPU {claim.index}: {claim.share:g} of it",
                data={"uuid": claim.uuid, "index": claim.index, "share": claim.share},
            )
        )

    def _event(
        self,
        action: Action,
        reason: Reason | None,
        message: str,
        *,
        service: str | None = None,
        replica: str | None = None,
        data: dict[str, Any],
    ) -> None:
        graph = self.graph
        self.transaction.event(
            Draft(
                at=self.now,
                actor=self.actor,
                action=action,
                project=graph.project,
                graph=graph.name,
                service=service,
                replica=replica,
                reason=reason,
                message=message,
                data=data,
            )
        )

    def _graph_data(self) -> dict[str, Any]:
        target = self.revisions[self.graph.revision]
        data: dict[str, Any] = msgspec.to_builtins(graph_view(self.graph, target, self.replicas))
        return data


def _without_secrets(record: ReplicaRecord, before: ReplicaRecord | None) -> ReplicaRecord:
    """What replicas, probes and drivers say reaches people from here: events, answers, `why`."""
    said = {name: getattr(record, name) for name in ("message", "progress", "probe")}
    news = {name: text for name, text in said.items() if before is None or text != getattr(before, name)}
    hidden = {name: redact_text(text) for name, text in news.items() if text}
    return replace(record, **hidden) if hidden != {name: news[name] for name in hidden} else record
