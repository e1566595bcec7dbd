"""The engine's picture of the control state. It changes only when a transaction has been written (see `turn`)."""

from __future__ import annotations

from dynamod.core.allocation import Claimed
from dynamod.core.errors import NotFound
from dynamod.core.records import ClaimRecord, GraphRecord, ReplicaRecord, RevisionRecord
from dynamod.store.queries import Everything


class Memory:
    """Graphs, their revisions and replicas, and GPU claims, by key."""

    def __init__(self, stored: Everything) -> None:
        self.graphs: dict[str, GraphRecord] = {graph.id: graph for graph in stored.graphs}
        self.revisions: dict[str, dict[int, RevisionRecord]] = {graph.id: {} for graph in stored.graphs}
        for revision in stored.revisions:
            self.revisions[revision.graph_id][revision.number] = revision
        self.replicas: dict[str, ReplicaRecord] = {}
        self._by_graph: dict[str, dict[str, ReplicaRecord]] = {}
        for replica in stored.replicas:
            self.put_replica(replica)
        self.claims: dict[tuple[str, int], ClaimRecord] = {(claim.uuid, claim.slot): claim for claim in stored.claims}

    def find(self, project: str, name: str) -> GraphRecord | None:
        return next((g for g in self.graphs.values() if g.project == project and g.name == name), None)

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

    def put_replica(self, record: ReplicaRecord) -> None:
        self.replicas[record.id] = record
        self._by_graph.setdefault(record.graph_id, {})[record.id] = record

    def drop_replica(self, replica_id: str) -> None:
        record = self.replicas.pop(replica_id, None)
        if record is not None:
            self._by_graph[record.graph_id].pop(replica_id, None)

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
        self.graphs.pop(graph_id, None)
        self.revisions.pop(graph_id, None)
        for replica_id in self._by_graph.pop(graph_id, {}):
            self.replicas.pop(replica_id, None)
