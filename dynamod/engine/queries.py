"""What can be asked of an engine. Answers come from its memory, history from the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from dynamod.core.errors import Invalid, NotFound
from dynamod.core.records import GraphRecord, ReplicaRecord
from dynamod.engine.base import EngineBase
from dynamod.engine.feed import EventSubscription
from dynamod.engine.views import replica_view, revision_view
from dynamod.schema.events import Event
from dynamod.schema.graphs import Graph, Page, Replica, Revision
from dynamod.schema.observations import Gpu
from dynamod.store.queries import EventFilter, events_after, latest_events

MAX_LIMIT = 1000
T = TypeVar("T")


class Queries(EngineBase):
    async def graphs(self, project: str | None = None, *, after: str | None = None, limit: int = 100) -> Page[Graph]:
        """Graphs by project and name. `after` is the cursor of the page before."""
        chosen, cursor = self._graph_page(project, after, limit)
        return Page(items=[self._view(record) for record in chosen], next=cursor)

    async def graphs_encoded(
        self, project: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> Page[msgspec.Raw]:
        """The same page with each graph as JSON, which is kept while the graph does not change."""
        chosen, cursor = self._graph_page(project, after, limit)
        return Page(items=[self.core.memory.encoded_view(record.id) for record in chosen], next=cursor)

    async def graph(self, project: str, name: str) -> Graph:
        return self._view(self.core.memory.graph(project, name))

    async def replicas(
        self,
        project: str | None = None,
        graph: str | None = None,
        service: str | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[Replica]:
        """Replicas by project, graph, service and index.

        Raises:
            NotFound: there is no such graph, or it has no such service.
        """
        memory = self.core.memory
        found: Iterable[ReplicaRecord] = memory.replicas.values()
        if graph is not None:
            record = memory.graph(project or "default", graph)
            if service is not None:
                self._known_service(record.id, service)
            found = memory.of_graph(record.id)
        found = [r for r in found if project in (None, r.project) and service in (None, r.service)]
        keyed = sorted((f"{r.project}/{r.graph}/{r.service}/{r.index:06d}/{r.id}", r) for r in found)
        chosen, cursor = _page(keyed, after, limit)
        return Page(items=[replica_view(r) for r in chosen], next=cursor)

    async def replica(self, replica_id: str) -> Replica:
        return replica_view(self.core.memory.replica(replica_id))

    async def revisions(self, project: str, graph: str) -> list[Revision]:
        """All revisions that are kept, the newest first, without their specs."""
        record = self.core.memory.graph(project, graph)
        known = self.core.memory.revisions[record.id]
        return [
            revision_view(known[n], active=n == record.revision, with_spec=False) for n in sorted(known, reverse=True)
        ]

    async def revision(self, project: str, graph: str, number: int) -> Revision:
        """One revision with its spec."""
        record = self.core.memory.graph(project, graph)
        known = self.core.memory.revisions[record.id]
        if number not in known:
            raise NotFound("revision", str(number), known=[str(n) for n in known])
        return revision_view(known[number], active=number == record.revision, with_spec=True)

    async def events(self, after: int | None = None, limit: int = 100, only: EventFilter | None = None) -> Page[Event]:
        """Events after a sequence number, oldest first; without `after`, the newest ones. `next` continues.

        Raises:
            Gone: some of them are no longer kept.
        """
        _check_limit(limit)
        chosen = only or EventFilter()
        if after is None:
            items = await self.core.store.read(lambda connection: latest_events(connection, limit, chosen))
        else:
            items = await self.core.store.read(lambda connection: events_after(connection, after, limit, chosen))
        return Page(items=items, next=str(items[-1].seq) if len(items) == limit else None)

    def subscribe(self, after: int | None = None) -> EventSubscription:
        """Follow all events after a sequence number (None: from now on).

        Raises:
            Gone: there is no event of that number yet.
        """
        return self.core.feed.subscribe(after)

    async def gpus(self) -> list[Gpu]:
        """All devices of the pool: claimed, granted, observed, and what is wrong with them.

        Raises:
            Unavailable: they cannot be read.
        """
        if not self.core.options.allocate_gpus:
            return []
        await self.core.gpus.known()
        return self.core.gpus.view()

    def _graph_page(self, project: str | None, after: str | None, limit: int) -> tuple[list[GraphRecord], str | None]:
        graphs = self.core.memory.graphs.values()
        keyed = sorted((f"{g.project}/{g.name}", g) for g in graphs if project is None or g.project == project)
        return _page(keyed, after, limit)

    def _known_service(self, graph_id: str, service: str) -> None:
        names = {
            name for revision in self.core.memory.revisions[graph_id].values() for name in revision.spec.service_names()
        }
        if service not in names:
            raise NotFound("service", service, known=sorted(names))


def _page(keyed: Sequence[tuple[str, T]], after: str | None, limit: int) -> tuple[list[T], str | None]:
    _check_limit(limit)
    rest = [(key, item) for key, item in keyed if after is None or key > after]
    cursor = rest[limit - 1][0] if len(rest) > limit else None
    return [item for _, item in rest[:limit]], cursor


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise Invalid(f"must be between 1 and {MAX_LIMIT}, not {limit}", field="limit")
