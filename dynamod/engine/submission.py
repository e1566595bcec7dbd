"""A submission checked where it enters, and made into a graph and a revision."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from dynamo.sdk.spec import SpecError, checked
from dynamod.core.errors import Invalid
from dynamod.core.records import GraphRecord, ReplicaRecord, RevisionRecord
from dynamod.core.revisions import submitted_digest
from dynamod.schema.graphs import GraphSubmit

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_UNFIT = re.compile(r"[^a-z0-9]+")
_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"


def checked_name(name: str, field: str) -> str:
    """Names end up in paths, keys and URLs.

    Raises:
        Invalid: it holds anything but letters, digits, `.`, `_` and `-`, or is too long.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name!r} is no name",
            field=field,
            remedy="use up to 63 letters, digits, '.', '_' and '-', with a letter or digit at both ends",
        )
    return name


def check(request: GraphSubmit) -> str:
    """The graph's name, once everything about the request holds.

    Raises:
        Invalid: names the field and what to do.
    """
    name = checked_name(request.name if request.name is not None else request.spec.name, "name")
    checked_name(request.project, "project")
    try:
        checked(request.spec)
    except SpecError as error:
        field, _, detail = str(error).partition(": ")
        raise Invalid(detail or field, field=f"spec.{field}" if detail else "spec") from None
    for variable, value in request.envs.items():
        if not variable or "=" in variable or "\0" in variable + value:
            raise Invalid(f"{variable!r} cannot be an environment variable", field="envs")
    if request.driver == "process":
        _check_local(request)
    return name


def _check_local(request: GraphSubmit) -> None:
    spec = request.spec
    if spec.working_dir and not Path(spec.working_dir).is_dir():
        raise Invalid(
            f"there is no directory {spec.working_dir}",
            field="spec.working_dir",
            remedy="submit from the directory that holds the graph's modules",
        )
    if spec.interpreter and not Path(spec.interpreter).is_file():
        raise Invalid(
            f"there is no interpreter {spec.interpreter}",
            field="spec.interpreter",
            remedy="create the environment again, or submit from another",
        )


def new_graph(request: GraphSubmit, name: str, now: float) -> GraphRecord:
    return GraphRecord(
        id=f"g-{_random(10)}",
        project=request.project,
        name=name,
        driver=request.driver,
        revision=1,
        created_at=now,
        updated_at=now,
    )


def revision_of(request: GraphSubmit, graph_id: str, number: int, cause: str, now: float) -> RevisionRecord:
    return RevisionRecord(
        graph_id=graph_id,
        number=number,
        digest=submitted_digest(request.spec, request.envs, request.build),
        spec=request.spec,
        envs=request.envs,
        build=request.build,
        cause=cause,
        created_at=now,
    )


def new_replica(graph: GraphRecord, service: str, index: int, now: float) -> ReplicaRecord:
    slug = _UNFIT.sub("-", f"{graph.name}-{service}".lower()).strip("-")[:100]
    return ReplicaRecord(
        id=f"{slug}-{index}-{_random(5)}",
        graph_id=graph.id,
        project=graph.project,
        graph=graph.name,
        service=service,
        index=index,
        revision=graph.revision,
        driver=graph.driver,
        created_at=now,
        updated_at=now,
    )


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
