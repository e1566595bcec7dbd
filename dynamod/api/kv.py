"""A graph's KV routing: hit rates, workers, decisions, and how they change."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from dynamod.api.backend import Backend, BackendDep, GraphName, Project
from dynamod.api.errors import problem_of
from dynamod.api.metrics import Since, Step, Until, time_range
from dynamod.api.sse import EventStream, encode_event, encode_problem
from dynamod.api.wire import WireResponse, describes
from dynamod.core.errors import EngineError
from dynamod.observe.kv.picture import DEFAULT_WINDOW_S
from dynamod.observe.kv.window import KEPT_S
from dynamod.schema import KvDecision, KvSnapshot, Problem, Series

router = APIRouter(prefix="/v1/graphs/{graph}/kv", tags=["kv"])

Window = Annotated[
    float | None, Query(ge=1, le=KEPT_S, allow_inf_nan=False, description="Seconds that the figures cover; 60.")
]


At = Annotated[
    float | None,
    Query(ge=0, le=1e11, allow_inf_nan=False, description="As it was then, in seconds since the epoch; now."),
]


@router.get("", summary="KV routing over the last seconds, or over those before a time that is past")
@describes(KvSnapshot, problems=(404,))
async def read_kv(
    backend: BackendDep, graph: GraphName, project: Project = "default", window: Window = None, at: At = None
) -> Response:
    await backend.engine.graph(project, graph)
    feeds, scope, reach = backend.observers.kv, f"{project}/{graph}", window or DEFAULT_WINDOW_S
    if at is None:
        return WireResponse(feeds.picture(scope).snapshot(time.time(), reach))
    await feeds.write()
    totals = await feeds.history.totals(scope, at - reach, at, time.time())
    return WireResponse(feeds.picture(scope).snapshot_of_past(totals, at, reach))


@router.get("/stream", summary="A snapshot at most once a second while it changes, and every decision")
@describes(stream={"snapshot": KvSnapshot, "decision": KvDecision, "problem": Problem}, problems=(404,))
async def stream_kv(
    backend: BackendDep, graph: GraphName, project: Project = "default", window: Window = None
) -> Response:
    await backend.engine.graph(project, graph)
    chunks = _stream(backend, f"{project}/{graph}", window or DEFAULT_WINDOW_S)
    return EventStream(chunks, backend.closing)


@router.get("/series", summary="Hit rates and decisions per second over time")
@describes(list[Series], problems=(404,))
async def read_kv_series(
    backend: BackendDep,
    graph: GraphName,
    project: Project = "default",
    since: Since = None,
    until: Until = None,
    step: Step = None,
    worker: Annotated[str | None, Query(max_length=32, description="One worker's instance id in hex; all.")] = None,
    by: Annotated[
        Literal["graph", "worker"], Query(description="All workers together, or series for each of them.")
    ] = "graph",
) -> Response:
    await backend.engine.graph(project, graph)
    begin, end, every = time_range(since, until, step)
    feeds = backend.observers.kv
    await feeds.write()
    workers = None if by == "worker" and worker is None else [worker or ""]
    found = await feeds.history.series(f"{project}/{graph}", begin, end, every, time.time(), workers=workers)
    return WireResponse(found)


async def _stream(backend: Backend, graph: str, window: float) -> AsyncIterator[bytes]:
    with backend.observers.kv.watch(graph) as watcher:
        try:
            async for decisions, snapshot_due in watcher:
                chunks = [encode_event(decision, event="decision") for decision in decisions]
                if snapshot_due:
                    snapshot = backend.observers.kv.picture(graph).snapshot(time.time(), window)
                    chunks.append(encode_event(snapshot, event="snapshot"))
                yield b"".join(chunks)
        except EngineError as error:
            yield encode_problem(problem_of(error))
