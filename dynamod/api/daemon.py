"""The daemon about itself: alive, who it is, its own metrics, and how to end it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from dynamod.api.backend import ActorDep, BackendDep
from dynamod.api.own_metrics import own_metrics
from dynamod.api.wire import TEXT, WireResponse, describes
from dynamod.observe.metrics.exposition import CONTENT_TYPE
from dynamod.schema import DaemonInfo

router = APIRouter(tags=["daemon"])


@router.get("/healthz", summary="Answers as soon as the daemon serves")
@describes(text=TEXT)
async def health() -> Response:
    return Response("ok\n", media_type=TEXT)


@router.get("/v1/info", summary="Who this daemon is")
@describes(DaemonInfo)
async def info(backend: BackendDep) -> Response:
    return WireResponse(backend.about())


@router.get("/metrics", summary="The daemon's own metrics as Prometheus text")
@describes(text=TEXT)
async def metrics(backend: BackendDep) -> Response:
    return Response(await own_metrics(backend), headers={"Content-Type": CONTENT_TYPE})


@router.post("/v1/shutdown", summary="End the daemon; replicas go on running", status_code=202)
@describes(status=202)
async def shutdown(
    backend: BackendDep,
    actor: ActorDep,
    stop_graphs: Annotated[bool, Query(description="Drain and stop every graph first.")] = False,
) -> Response:
    backend.shutdown(actor, stop_graphs)
    return Response(status_code=202)
