"""/v1/plans: what a submit or another change would do, and doing exactly that."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from dynamod.api.backend import ActorDep, BackendDep
from dynamod.api.graphs import graph_response
from dynamod.api.problems import ApiProblem
from dynamod.api.wire import WireResponse, describes, wire_body
from dynamod.redaction import redact_plan
from dynamod.schema import Graph, GraphChange, GraphSubmit, Plan, PlanRequest

router = APIRouter(prefix="/v1/plans", tags=["plans"])

PlanId = Annotated[str, Path(max_length=100, description="The plan's id.")]


@router.post("", summary="Plan a submit or a change: every operation with its cause; nothing is done", status_code=201)
@describes(Plan, status=201, body=PlanRequest, problems=(404, 409, 415))
async def make_plan(
    backend: BackendDep, actor: ActorDep, body: Annotated[PlanRequest, wire_body(PlanRequest)]
) -> Response:
    match body:
        case PlanRequest(submit=GraphSubmit() as submit, change=None):
            plan = await backend.engine.plan(submit, actor=actor)
        case PlanRequest(submit=None, change=GraphChange() as change):
            plan = await backend.engine.plan_change(change)
        case _:
            raise ApiProblem(422, "invalid", "name either a submission or a change", field="submit")
    return WireResponse(redact_plan(plan), 201, headers={"Location": f"/v1/plans/{plan.id}"})


@router.get("/{plan}", summary="Show a plan")
@describes(Plan, problems=(404,))
async def show_plan(backend: BackendDep, plan: PlanId) -> Response:
    return WireResponse(redact_plan(await backend.engine.kept_plan(plan)))


@router.post("/{plan}/apply", summary="Carry a plan out; refused when the world has moved since")
@describes(Graph, problems=(404, 409), etag=True)
async def apply_plan(backend: BackendDep, actor: ActorDep, plan: PlanId) -> Response:
    return graph_response(await backend.engine.apply(plan, actor=actor))
