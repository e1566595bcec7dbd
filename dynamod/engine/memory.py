"""The engine's picture of the control state. It changes only when a transaction has been written (see `turn`)."""

from __future__ import annotations

import msgspec

from dynamod.core.allocation import Claimed
from dynamod.core.errors import NotFound
from dynamod.core.records import ClaimRecord, GraphRecord, ReplicaRecord, RevisionRecord
from dynamod.engine.views import graph_view
from dynamod.schema.graphs import Graph
from dynamod.store.queries import Everything


class Memory:
    """Graphs, their revisions and replicas, and GPU claims, by key; and graphs as the API shows them.

    A view is made when it is asked for and kept until its graph or one of its replicas changes: a list of many graphs,
    few of which have changed, costs little.
    """

    def __init__(self, stored: Everything) -> None:
        self.graphs: dict[str, GraphRecord] = {}
        self._ids: dict[tuple[str, str], str] = {}
        self._views: dict[str, Graph] = {}
        self._encoded: dict[str, msgspec.Raw] = {}
        for graph in stored.graphs:
            self.put_graph(graph)
        self.revisions: dict[str, dict[int, RevisionRecord]] = {graph.id: {} for graph in stored.graphs}
        for revision in stored.revisions:
            self.revisions[revision.graph_id][revision.number] = revision
        self.replicas: dict[str, ReplicaRecord] = {}
        self._by_graph: dict[str, dict[str, ReplicaRecord]] = {}
        for replica in stored.replicas:
            self.put_replica(replica)
        self.claims: dict[tuple[str, int], ClaimRecord] = {(claim.uuid, claim.slot): claim for claim in stored.claims}

    def find(self, project: str, name: str) -> GraphRecord | None:
        return self.graphs.get(self._ids.get((project, name), ""))

    def graph(self, project: str, name: str) -> GraphRecord:
        """Raises NotFound, which lists what there is."""
        found = self.find(project, name)
        if found is None:
            raise NotFound("graph", name, known=[g.name for g in self.graphs.values() if g.project == project])
        return found

    def replica(self, replica_id: str) -> ReplicaRecord:
        """Raises NotFound."""
        found = self.replicas.get(replica_id)
        if found is None:
            raise NotFound("replica", replica_id, remedy="list the replicas to see their ids")
        return found

    def of_graph(self, graph_id: str) -> list[ReplicaRecord]:
        return list(self._by_graph.get(graph_id, {}).values())

    def view(self, graph_id: str) -> Graph:
        """A graph as the API shows it."""
        known = self._views.get(graph_id)
        if known is None:
            record = self.graphs[graph_id]
            known = self._views[graph_id] = graph_view(record, self.target(record), self.of_graph(graph_id))
        return known

    def encoded_view(self, graph_id: str) -> msgspec.Raw:
        """The same, as JSON."""
        known = self._encoded.get(graph_id)
        if known is None:
            known = self._encoded[graph_id] = msgspec.Raw(msgspec.json.encode(self.view(graph_id)))
        return known

    def put_graph(self, record: GraphRecord) -> None:
        self.graphs[record.id] = record
        self._ids[record.project, record.name] = record.id
        self._changed(record.id)

    def put_replica(self, record: ReplicaRecord) -> None:
        self.replicas[record.id] = record
        self._by_graph.setdefault(record.graph_id, {})[record.id] = record
        self._changed(record.graph_id)

    def drop_replica(self, replica_id: str) -> None:
        record = self.replicas.pop(replica_id, None)
        if record is not None:
            self._by_graph[record.graph_id].pop(replica_id, None)
            self._changed(record.graph_id)

    def target(self, graph: GraphRecord) -> RevisionRecord:
        return self.revisions[graph.id][graph.revision]

    def claimed(self) -> list[Claimed]:
        return [Claimed(c.uuid, c.share, c.slot, c.replica_id) for c in self.claims.values()]

    def claims_of(self, replica_id: str) -> list[ClaimRecord]:
        return [claim for claim in self.claims.values() if claim.replica_id == replica_id]

    def users_of(self, build: str) -> list[str]:
        """The graphs with a revision of that build (a digest), as `project/name`."""
        return sorted(
            f"{graph.project}/{graph.name}"
            for graph in self.graphs.values()
            if any(revision.build == build for revision in self.revisions.get(graph.id, {}).values())
        )

    def forget_graph(self, graph_id: str) -> None:
        record = self.graphs.pop(graph_id, None)
        if record is not None:
            self._ids.pop((record.project, record.name), None)
        self._changed(graph_id)
        self.revisions.pop(graph_id, None)
        for replica_id in self._by_graph.pop(graph_id, {}):
            self.replicas.pop(replica_id, None)

    def _changed(self, graph_id: str) -> None:
        self._views.pop(graph_id, None)
        self._encoded.pop(graph_id, None)
