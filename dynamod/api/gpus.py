"""/v1/gpus: every device in three ledgers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.responses import Response

from dynamod.api.backend import Backend, BackendDep
from dynamod.api.errors import problem_of
from dynamod.api.sse import EventStream, encode_event, encode_problem
from dynamod.api.wire import WireResponse, describes
from dynamod.core.errors import EngineError
from dynamod.schema import Gpu, Problem

router = APIRouter(prefix="/v1/gpus", tags=["gpus"])

PERIOD_S = 1.0


@router.get("", summary="Show the GPUs: claimed, granted and observed")
@describes(list[Gpu])
async def list_gpus(backend: BackendDep) -> Response:
    return WireResponse(await backend.engine.gpus())


@router.get("/stream", summary="The same, each second in which something changed")
@describes(stream={"gpus": list[Gpu], "problem": Problem})
async def stream_gpus(backend: BackendDep) -> Response:
    return EventStream(_gpus(backend), backend.closing)


async def _gpus(backend: Backend) -> AsyncIterator[bytes]:
    told: list[Gpu] | None = None
    try:
        while True:
            gpus = await backend.engine.gpus()
            if gpus != told:
                told = gpus
                yield encode_event(gpus, event="gpus")
            await asyncio.sleep(PERIOD_S)
    except EngineError as error:
        yield encode_problem(problem_of(error))
