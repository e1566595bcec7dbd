"""Replicas: which there are, in which state, and why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from dynamod.api.backend import After, BackendDep, GraphName, Limit, Project, Projects, ReplicaId
from dynamod.api.wire import WireResponse, describes
from dynamod.schema import Page, Replica, Why

router = APIRouter(prefix="/v1", tags=["replicas"])

ByService = Annotated[str | None, Query(max_length=200, description="Only replicas of this service.")]
ByGraph = Annotated[str | None, Query(max_length=100, description="Only replicas of this graph.")]


@router.get("/replicas", summary="List replicas")
@describes(Page[Replica], problems=(404,))
async def list_replicas(
    backend: BackendDep,
    project: Projects,
    graph: ByGraph = None,
    service: ByService = None,
    after: After = None,
    limit: Limit = 100,
) -> Response:
    return WireResponse(await backend.engine.replicas(project, graph, service, after=after, limit=limit))


@router.get("/graphs/{graph}/replicas", summary="List a graph's replicas")
@describes(Page[Replica], problems=(404,))
async def list_graph_replicas(
    backend: BackendDep,
    graph: GraphName,
    project: Project = "default",
    service: ByService = None,
    after: After = None,
    limit: Limit = 100,
) -> Response:
    await backend.engine.graph(project, graph)
    return WireResponse(await backend.engine.replicas(project, graph, service, after=after, limit=limit))


@router.get("/replicas/{replica}", summary="Show a replica")
@describes(Replica, problems=(404,))
async def show_replica(backend: BackendDep, replica: ReplicaId) -> Response:
    return WireResponse(await backend.engine.replica(replica))


@router.get("/replicas/{replica}/why", summary="Everything that explains a replica's state")
@describes(Why, problems=(404,))
async def explain_replica(backend: BackendDep, replica: ReplicaId) -> Response:
    return WireResponse(await backend.engine.why(replica))
