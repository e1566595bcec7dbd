"""Records as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from dynamod.core.records import GraphRecord, ReplicaRecord, RevisionRecord
from dynamod.core.steps import is_leaving
from dynamod.schema.graphs import Edge, Graph, Replica, Revision, ServiceStatus
from dynamod.schema.states import ReplicaState


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def maybe(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


def replica_view(record: ReplicaRecord) -> Replica:
    return Replica(
        id=record.id,
        project=record.project,
        graph=record.graph,
        service=record.service,
        index=record.index,
        revision=record.revision,
        driver=record.driver,
        state=record.state,
        reason=record.reason,
        message=record.message,
        progress=record.progress,
        pid=record.pid,
        container=record.container,
        host=record.host,
        address=record.address,
        gpus=list(record.gpus),
        restarts=len(record.failures),
        next_retry_at=maybe(record.next_retry_at),
        last_exit=record.last_exit,
        created_at=moment(record.created_at),
        started_at=maybe(record.started_at),
        ready_at=maybe(record.ready_at),
        updated_at=moment(record.updated_at),
    )


def graph_view(record: GraphRecord, target: RevisionRecord, replicas: Sequence[ReplicaRecord]) -> Graph:
    services = [_service_view(record, target, service, replicas) for service in target.spec.service_names()]
    entry = next(s for s in services if s.name == target.spec.entry)
    return Graph(
        id=record.id,
        project=record.project,
        name=record.name,
        driver=record.driver,
        state=record.state,
        reason=record.reason,
        message=record.message,
        revision=record.revision,
        digest=target.digest,
        entry=target.spec.entry,
        services=services,
        address=entry.address,
        created_at=moment(record.created_at),
        updated_at=moment(record.updated_at),
        etag=str(record.version),
    )


def revision_view(record: RevisionRecord, *, active: bool, with_spec: bool) -> Revision:
    return Revision(
        number=record.number,
        digest=record.digest,
        created_at=moment(record.created_at),
        cause=record.cause,
        build=record.build,
        active=active,
        spec=record.spec if with_spec else None,
    )


def _service_view(
    graph: GraphRecord, target: RevisionRecord, name: str, replicas: Sequence[ReplicaRecord]
) -> ServiceStatus:
    service = target.spec.service(name)
    mine = [r for r in replicas if r.service == name]
    ready = [r for r in mine if r.state is ReplicaState.READY]
    return ServiceStatus(
        name=name,
        component=service.component_name,
        namespace=service.namespace,
        desired=graph.wanted(service),
        ready=len(ready),
        total=sum(not is_leaving(r) for r in mine),
        restarts=sum(len(r.failures) for r in mine),
        endpoints=[endpoint.name for endpoint in service.endpoints],
        dependencies=[Edge(attribute=d.attribute, service=d.service) for d in service.dependencies],
        cpu=service.resources.cpu,
        memory=service.resources.memory,
        gpu=service.resources.gpu,
        address=next((r.address for r in ready if r.address), None),
    )
