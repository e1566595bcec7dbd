"""/v1/graphs: submit, look at, and change graphs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path
from starlette.responses import Response

from dynamod.api.backend import (
    ActorDep,
    After,
    BackendDep,
    GraphName,
    IfMatch,
    Limit,
    Project,
    Projects,
    ServiceName,
)
from dynamod.api.problems import ApiProblem
from dynamod.api.wire import NOT_MODIFIED, WireResponse, describes, wire_body
from dynamod.redaction import redact_revision
from dynamod.schema import (
    DrainRequest,
    Graph,
    GraphSubmit,
    Page,
    RestartRequest,
    Revision,
    RollbackRequest,
    ScaleRequest,
    StopRequest,
)

router = APIRouter(prefix="/v1/graphs", tags=["graphs"])


def graph_response(graph: Graph, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return WireResponse(graph, status_code, etag=graph.etag, headers=headers)


@router.get("", summary="List graphs")
@describes(Page[Graph])
async def list_graphs(backend: BackendDep, project: Projects, after: After = None, limit: Limit = 100) -> Response:
    return WireResponse(await backend.engine.graphs_encoded(project, after=after, limit=limit))


@router.post("", summary="Submit a graph: create it, or give it a new revision", status_code=201)
@describes(
    Graph,
    status=201,
    also={200: "The graph already runs exactly this spec; nothing changed."},
    body=GraphSubmit,
    problems=(404, 409, 415),
    etag=True,
)
async def submit_graph(
    backend: BackendDep, actor: ActorDep, body: Annotated[GraphSubmit, wire_body(GraphSubmit)]
) -> Response:
    graph, changed = await backend.engine.submit(body, actor=actor)
    location = {"Location": f"/v1/graphs/{graph.name}?project={graph.project}"}
    return graph_response(graph, 201 if changed else 200, location)


@router.get("/{graph}", summary="Show a graph")
@describes(Graph, also={304: "It is what If-None-Match names."}, problems=(404,), etag=True)
async def show_graph(
    backend: BackendDep,
    graph: GraphName,
    project: Project = "default",
    if_none_match: Annotated[str | None, Header(alias="If-None-Match", max_length=200)] = None,
) -> Response:
    found = await backend.engine.graph(project, graph)
    if if_none_match is not None and if_none_match.strip().removeprefix("W/").strip('"') == found.etag:
        return Response(status_code=NOT_MODIFIED, headers={"ETag": f'"{found.etag}"'})
    return graph_response(found)


@router.delete("/{graph}", summary="Stop a graph and forget it", status_code=204)
@describes(status=204, problems=(404, 409, 412))
async def remove_graph(
    backend: BackendDep, actor: ActorDep, graph: GraphName, if_match: IfMatch, project: Project = "default"
) -> Response:
    await backend.engine.remove(project, graph, actor=actor, if_match=if_match)
    return Response(status_code=204)


@router.post("/{graph}/stop", summary="Drain and stop every replica; the graph stays known")
@describes(Graph, body=StopRequest, body_optional=True, problems=(404, 409, 412, 415), etag=True)
async def stop_graph(
    backend: BackendDep,
    actor: ActorDep,
    graph: GraphName,
    if_match: IfMatch,
    body: Annotated[StopRequest, wire_body(StopRequest, optional=True)],
    project: Project = "default",
) -> Response:
    return graph_response(await backend.engine.stop_graph(project, graph, body, actor=actor, if_match=if_match))


@router.post("/{graph}/start", summary="Start a stopped graph")
@describes(Graph, problems=(404, 409, 412), etag=True)
async def start_graph(
    backend: BackendDep, actor: ActorDep, graph: GraphName, if_match: IfMatch, project: Project = "default"
) -> Response:
    return graph_response(await backend.engine.start_graph(project, graph, actor=actor, if_match=if_match))


@router.post("/{graph}/restart", summary="Restart a graph, one service of it, or one replica")
@describes(Graph, body=RestartRequest, body_optional=True, problems=(404, 409, 412, 415), etag=True)
async def restart_graph(
    backend: BackendDep,
    actor: ActorDep,
    graph: GraphName,
    if_match: IfMatch,
    body: Annotated[RestartRequest, wire_body(RestartRequest, optional=True)],
    project: Project = "default",
) -> Response:
    return graph_response(await backend.engine.restart(project, graph, body, actor=actor, if_match=if_match))


@router.post("/{graph}/drain", summary="Let a replica, or all of a service, finish and be replaced by fresh ones")
@describes(Graph, body=DrainRequest, problems=(404, 409, 412, 415), etag=True)
async def drain_graph(
    backend: BackendDep,
    actor: ActorDep,
    graph: GraphName,
    if_match: IfMatch,
    body: Annotated[DrainRequest, wire_body(DrainRequest)],
    project: Project = "default",
) -> Response:
    return graph_response(await backend.engine.drain(project, graph, body, actor=actor, if_match=if_match))


@router.post("/{graph}/rollback", summary="Go back to an earlier revision at once")
@describes(Graph, body=RollbackRequest, body_optional=True, problems=(404, 409, 412, 415), etag=True)
async def rollback_graph(
    backend: BackendDep,
    actor: ActorDep,
    graph: GraphName,
    if_match: IfMatch,
    body: Annotated[RollbackRequest, wire_body(RollbackRequest, optional=True)],
    project: Project = "default",
) -> Response:
    return graph_response(await backend.engine.rollback(project, graph, body, actor=actor, if_match=if_match))


@router.post("/{graph}/services/{service}/scale", summary="Set how many replicas a service has")
@describes(Graph, body=ScaleRequest, problems=(404, 409, 412, 415), etag=True)
async def scale_service(
    backend: BackendDep,
    actor: ActorDep,
    graph: GraphName,
    service: ServiceName,
    if_match: IfMatch,
    body: Annotated[ScaleRequest, wire_body(ScaleRequest)],
    project: Project = "default",
) -> Response:
    changed = await backend.engine.scale(project, graph, service, body.replicas, actor=actor, if_match=if_match)
    return graph_response(changed)


@router.get("/{graph}/revisions", summary="List a graph's revisions, newest first")
@describes(Page[Revision], problems=(404,))
async def list_revisions(
    backend: BackendDep, graph: GraphName, project: Project = "default", after: After = None, limit: Limit = 100
) -> Response:
    return WireResponse(_revision_page(await backend.engine.revisions(project, graph), after, limit))


@router.get("/{graph}/revisions/{number}", summary="Show one revision with its spec")
@describes(Revision, problems=(404,))
async def show_revision(
    backend: BackendDep,
    graph: GraphName,
    number: Annotated[int, Path(ge=1, le=2**31, description="The revision's number.")],
    project: Project = "default",
) -> Response:
    return WireResponse(redact_revision(await backend.engine.revision(project, graph, number)))


def _revision_page(revisions: list[Revision], after: str | None, limit: int) -> Page[Revision]:
    """Revisions are few and come all at once, newest first; the cursor is a revision's number."""
    if after is not None:
        if not after.isascii() or not after.isdigit():
            raise ApiProblem(422, "invalid", "not a cursor of this list", field="after")
        revisions = [revision for revision in revisions if revision.number < int(after)]
    chosen = revisions[:limit]
    return Page(items=chosen, next=str(chosen[-1].number) if len(revisions) > limit else None)
