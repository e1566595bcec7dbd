"""What the routers stand on, and the parameters that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Header, Path, Query, Request

from dynamod.api.guard import ACTOR
from dynamod.api.sse import Closing
from dynamod.schema import DaemonInfo

if TYPE_CHECKING:
    from dynamod.engine import Engine
    from dynamod.observe.observers import Observers

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ALL_PROJECTS = "*"


@dataclass(frozen=True)
class Backend:
    """`shutdown(actor, stop_graphs)` asks the program around the application to end; `about` describes it."""

    engine: Engine
    observers: Observers
    about: Callable[[], DaemonInfo]
    shutdown: Callable[[str, bool], None]
    closing: Closing = field(default_factory=Closing)


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


def _actor(request: Request) -> str:
    return str(request.scope[ACTOR])


def _if_match(value: Annotated[str | None, Header(alias="If-Match", max_length=200)] = None) -> str | None:
    """The entity tag without its quotes; `*` means any version."""
    if value is None or value.strip() == "*":
        return None
    return value.strip().removeprefix("W/").strip('"')


def _projects(
    project: Annotated[str, Query(max_length=100, description="The project; `*` means every project.")] = "default",
) -> str | None:
    return None if project == ALL_PROJECTS else project


BackendDep = Annotated[Backend, Depends(_backend)]
ActorDep = Annotated[str, Depends(_actor)]
IfMatch = Annotated[str | None, Depends(_if_match)]
Projects = Annotated[str | None, Depends(_projects)]
Project = Annotated[str, Query(max_length=100, description="The project that the graph belongs to.")]
After = Annotated[str | None, Query(max_length=500, description="The cursor `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many items in the page.")]
GraphName = Annotated[str, Path(max_length=100, description="The graph's name.")]
ServiceName = Annotated[str, Path(max_length=200, description="The service's name.")]
ReplicaId = Annotated[str, Path(max_length=200, description="The replica's id.")]
