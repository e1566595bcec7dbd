"""A graph's metrics: series with a range and a step, present rates, and Prometheus text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from dynamod.api.backend import Backend, BackendDep, GraphName, Project
from dynamod.api.sse import EventStream, encode_event
from dynamod.api.wire import TEXT, WireResponse, describes
from dynamod.observe.metrics.exposition import CONTENT_TYPE, render
from dynamod.schema import Problem, Series, ServiceRates

router = APIRouter(prefix="/v1/graphs/{graph}", tags=["metrics"])

DEFAULT_RANGE_S = 600.0
DEFAULT_POINTS = 120
RATES_PERIOD_S = 1.0

Since = Annotated[
    float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="Seconds since the epoch; ten minutes ago.")
]
Until = Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="Seconds since the epoch; now.")]
Step = Annotated[float | None, Query(ge=1, le=86400, allow_inf_nan=False, description="Seconds between points.")]
OfService = Annotated[str | None, Query(max_length=200, description="Only this service.")]


def time_range(since: float | None, until: float | None, step: float | None) -> tuple[float, float, float]:
    """The range that was asked for, with its defaults: the last ten minutes in about 120 steps."""
    until = time.time() if until is None else until
    since = until - DEFAULT_RANGE_S if since is None else since
    return since, until, max((until - since) / DEFAULT_POINTS, 1.0) if step is None else step


@router.get("/metrics", summary="One metric over time: counters as rates, histograms as quantiles")
@describes(list[Series], problems=(404,))
async def read_metric(
    backend: BackendDep,
    graph: GraphName,
    name: Annotated[str, Query(max_length=200, description="The metric's name; histograms without suffix.")],
    project: Project = "default",
    service: OfService = None,
    replica: Annotated[str | None, Query(max_length=200, description="Only this replica.")] = None,
    since: Since = None,
    until: Until = None,
    step: Step = None,
    by: Annotated[
        Literal["replica", "service"], Query(description="One series per replica, or per service.")
    ] = "replica",
) -> Response:
    await backend.engine.graph(project, graph)
    begin, end, every = time_range(since, until, step)
    found = await backend.observers.metrics.series(
        f"{project}/{graph}", name, since=begin, until=end, step=every, service=service, replica=replica, by=by
    )
    return WireResponse(found)


@router.get("/metrics/names", summary="The names of the metrics that there are")
@describes(list[str], problems=(404,))
async def list_metric_names(backend: BackendDep, graph: GraphName, project: Project = "default") -> Response:
    await backend.engine.graph(project, graph)
    return WireResponse(await backend.observers.metrics.names(f"{project}/{graph}"))


@router.get("/rates", summary="What each service and each replica does right now")
@describes(list[ServiceRates], problems=(404,))
async def read_rates(
    backend: BackendDep, graph: GraphName, project: Project = "default", service: OfService = None
) -> Response:
    await backend.engine.graph(project, graph)
    return WireResponse(backend.observers.metrics.rates(f"{project}/{graph}", service=service))


@router.get("/rates/stream", summary="The same, each second in which something changed")
@describes(stream={"rates": list[ServiceRates], "problem": Problem}, problems=(404,))
async def stream_rates(
    backend: BackendDep, graph: GraphName, project: Project = "default", service: OfService = None
) -> Response:
    await backend.engine.graph(project, graph)
    return EventStream(_rates(backend, f"{project}/{graph}", service), backend.closing)


@router.get("/prometheus", summary="The latest samples of all replicas as Prometheus text")
@describes(text=TEXT, problems=(404,))
async def expose_graph(backend: BackendDep, graph: GraphName, project: Project = "default") -> Response:
    await backend.engine.graph(project, graph)
    text = render(backend.observers.metrics.latest(f"{project}/{graph}"))
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


async def _rates(backend: Backend, graph: str, service: str | None) -> AsyncIterator[bytes]:
    told: list[ServiceRates] | None = None
    while True:
        rates = backend.observers.metrics.rates(graph, service=service)
        if rates != told:
            told = rates
            yield encode_event(rates, event="rates")
        await asyncio.sleep(RATES_PERIOD_S)
