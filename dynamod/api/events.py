"""/v1/events: the append-only feed, as pages and as a resumable stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response

from dynamod.api.backend import ALL_PROJECTS, BackendDep, Limit
from dynamod.api.errors import problem_of
from dynamod.api.problems import ApiProblem
from dynamod.api.sse import EventStream, encode_event, encode_problem
from dynamod.api.wire import WireResponse, describes
from dynamod.core.errors import EngineError
from dynamod.engine.feed import EventSubscription
from dynamod.schema import Action, Event, Page, Problem
from dynamod.store.queries import EventFilter, matches

router = APIRouter(prefix="/v1/events", tags=["events"])

MAX_SEQ = 2**63 - 1


def _event_filter(
    project: Annotated[str, Query(max_length=100, description="Only of this project; `*` means all.")] = ALL_PROJECTS,
    graph: Annotated[str | None, Query(max_length=100, description="Only of this graph.")] = None,
    service: Annotated[str | None, Query(max_length=200, description="Only of this service.")] = None,
    replica: Annotated[str | None, Query(max_length=200, description="Only of this replica.")] = None,
    action: Annotated[Action | None, Query(description="Only of this kind.")] = None,
) -> EventFilter:
    return EventFilter(
        project=None if project == ALL_PROJECTS else project,
        graph=graph,
        service=service,
        replica=replica,
        actions=None if action is None else frozenset({action}),
    )


Filter = Annotated[EventFilter, Depends(_event_filter)]
AfterSeq = Annotated[int | None, Query(ge=0, le=MAX_SEQ, description="Only events after this sequence number.")]


@router.get("", summary="List events, oldest first")
@describes(Page[Event], problems=(410,))
async def list_events(backend: BackendDep, wanted: Filter, after: AfterSeq = None, limit: Limit = 100) -> Response:
    return WireResponse(await backend.engine.events(after, limit, wanted))


@router.get("/stream", summary="Follow events; `Last-Event-ID` (or `after`) resumes without a gap")
@describes(stream={"event": Event, "problem": Problem}, problems=(410,))
async def stream_events(
    backend: BackendDep,
    wanted: Filter,
    after: AfterSeq = None,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", max_length=20, description="The last `id` that was seen.")
    ] = None,
) -> Response:
    if last_event_id is not None:
        if not last_event_id.isascii() or not last_event_id.isdigit() or int(last_event_id) > MAX_SEQ:
            raise ApiProblem(422, "invalid", "not a sequence number", field="Last-Event-ID")
        after = int(last_event_id)
    subscription = backend.engine.subscribe(after)
    try:
        await subscription.begin()  # so that 410 is an answer and not a broken stream
    except EngineError:
        subscription.close()
        raise
    return EventStream(_follow(subscription, wanted), backend.closing)


async def _follow(subscription: EventSubscription, wanted: EventFilter) -> AsyncIterator[bytes]:
    """Events as they come; a subscriber that was dropped is told so at the end."""
    async with subscription:
        try:
            async for event in subscription:
                if matches(event, wanted):
                    yield encode_event(event, event="event", id=str(event.seq))
        except EngineError as error:
            yield encode_problem(problem_of(error))
