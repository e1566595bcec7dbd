"""A graph's logs: pages, and a stream that follows its services across replicas and restarts."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response

from dynamo.sdk.spec import UNREADABLE
from dynamod.api.backend import Backend, BackendDep, GraphName, Project
from dynamod.api.problems import ApiProblem
from dynamod.api.sse import EventStream, encode_event
from dynamod.api.wire import WireResponse, describes
from dynamod.observe.logs.follow import Batch, follow, starting_places
from dynamod.observe.logs.query import LogFilter, LogSource, log_filter, read_page
from dynamod.schema import LogGap, LogLine, Page, Problem

router = APIRouter(prefix="/v1/graphs/{graph}/logs", tags=["logs"])

DEFAULT_LINES = 100
MAX_LINES = 10_000


@dataclass(frozen=True)
class Asked:
    """Whose lines, and which of them."""

    project: str
    graph: str
    service: str | None
    replica: str | None
    lines: LogFilter


def _asked(
    graph: GraphName,
    project: Project = "default",
    service: Annotated[str | None, Query(max_length=200, description="Only this service's replicas.")] = None,
    replica: Annotated[str | None, Query(max_length=200, description="Only this replica.")] = None,
    since: Annotated[
        float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="Seconds since the epoch, included.")
    ] = None,
    until: Annotated[
        float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="Seconds since the epoch, included.")
    ] = None,
    regex: Annotated[str | None, Query(max_length=1000, description="A regular expression to find in a line.")] = None,
    level: Annotated[
        str | None,
        Query(pattern="^(trace|debug|info|warn|warning|error|critical)$", description="This level and above."),
    ] = None,
) -> Asked:
    wanted = log_filter(since=since, until=until, pattern=regex, level=level)
    return Asked(project, graph, service, replica, wanted)


AskedDep = Annotated[Asked, Depends(_asked)]


@router.get("", summary="Read a graph's log lines, merged by time")
@describes(Page[LogLine], problems=(404,))
async def read_logs(
    backend: BackendDep,
    asked: AskedDep,
    tail: Annotated[
        int | None, Query(ge=0, le=MAX_LINES, description="The newest lines; `next` then leads to older ones.")
    ] = None,
    after: Annotated[str | None, Query(max_length=500, description="The cursor `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LINES, description="At most so many lines.")] = DEFAULT_LINES,
) -> Response:
    """Without `tail` and `since` the newest lines come, as if `tail` were `limit`."""
    sources = await log_sources(backend, asked)
    newest = tail is not None or asked.lines.since is None
    count = limit if tail is None else tail
    if count == 0:
        return WireResponse(Page[LogLine](items=[]))
    return WireResponse(await asyncio.to_thread(read_page, sources, asked.lines, limit=count, tail=newest, after=after))


@router.get("/stream", summary="Follow a graph's log lines; `gap` says how many were skipped on overload")
@describes(stream={"line": LogLine, "gap": LogGap, "problem": Problem}, problems=(404,))
async def stream_logs(
    backend: BackendDep,
    asked: AskedDep,
    tail: Annotated[
        int | None, Query(ge=0, le=MAX_LINES, description="Begin with so many of the newest lines.")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", max_length=64_000, description="The last `id` that was seen.")
    ] = None,
) -> Response:
    places = None if last_event_id is None else decode_places(last_event_id)
    await log_sources(backend, asked)
    return EventStream(_stream(backend, asked, tail, places), backend.closing)


async def log_sources(backend: Backend, asked: Asked) -> list[LogSource]:
    """The logs of all replicas that match.

    Raises:
        EngineError: there is no such graph, service or replica.
    """
    return await backend.observers.log_sources(asked.project, asked.graph, asked.service, asked.replica)


async def _stream(
    backend: Backend, asked: Asked, tail: int | None, places: dict[str, int] | None
) -> AsyncIterator[bytes]:
    async def sources() -> list[LogSource]:
        return await log_sources(backend, asked)

    if places is None:
        lines, ends = await asyncio.to_thread(starting_places, await sources(), asked.lines, tail)
        yield encode_batch(Batch(lines, 0, ends))
        places = ends
    async with aclosing(follow(sources, asked.lines, places=places)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            yield encode_batch(batch)


def encode_batch(batch: Batch) -> bytes:
    """Events of one batch; its last one carries the place to resume from."""
    place = encode_places(batch.places)
    last = len(batch.lines) - 1
    chunks = []
    if batch.skipped:
        chunks.append(encode_event(LogGap(skipped=batch.skipped), event="gap", id="" if batch.lines else place))
    chunks.extend(
        encode_event(line, event="line", id=place if at == last else "") for at, line in enumerate(batch.lines)
    )
    return b"".join(chunks)


def encode_places(places: dict[str, int]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(places)).decode().rstrip("=")


def decode_places(text: str) -> dict[str, int]:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(raw, type=dict[str, int])
    except (ValueError, *UNREADABLE):
        raise ApiProblem(422, "invalid", "not an id of this stream", field="Last-Event-ID") from None
