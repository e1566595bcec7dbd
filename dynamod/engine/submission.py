"""A submission checked where it enters, and made into a graph and a revision."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynamo.sdk.spec import GraphSpec, ServiceSpec, SpecError, checked
from dynamod.core.errors import Invalid
from dynamod.core.records import GraphRecord, ReplicaRecord, RevisionRecord
from dynamod.core.revisions import submitted_digest
from dynamod.schema.graphs import DriverName, GraphSubmit

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_UNFIT = re.compile(r"[^a-z0-9]+")
_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True)
class Submission:
    """A GraphSubmit whose spec can be run here. `build` is the digest of the build that it comes from.

    `kubernetes` are the options of that driver.
    """

    spec: GraphSpec
    name: str | None
    project: str
    driver: DriverName
    build: str | None
    envs: dict[str, str]
    kubernetes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, request: GraphSubmit, spec: GraphSpec, build: str | None) -> Submission:
        return cls(spec, request.name, request.project, request.driver, build, request.envs, request.kubernetes)


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


def check(request: Submission) -> str:
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
    for service in request.spec.services:
        _check_probes(service)
    if request.kubernetes and request.driver != "kubernetes":
        raise Invalid(
            f"the driver {request.driver!r} takes no options of a cluster", field="kubernetes", remedy="leave them out"
        )
    if request.driver == "process":
        _check_local(request)
    elif request.driver == "docker":
        _check_images(request)
    return name


def _check_probes(service: ServiceSpec) -> None:
    field = f"spec.services.{service.name}.probes"
    if service.probes.liveness is not None and service.probes.liveness.kind == "log":
        raise Invalid("a log tells of readiness only", field=f"{field}.liveness", remedy="use http, tcp or exec")
    for probe in (service.probes.readiness, service.probes.liveness):
        if probe is None:
            continue
        if min(probe.period, probe.timeout) <= 0:
            raise Invalid("period and timeout must be above 0 seconds", field=field)
        try:
            if probe.kind == "log":
                re.compile(probe.target)
            elif probe.kind == "exec" and not shlex.split(probe.target):
                raise ValueError("a command is missing")
            elif probe.kind == "tcp":
                int(probe.target.rpartition(":")[2] or service.http_port or "none")
        except (ValueError, re.error) as error:
            raise Invalid(f"{probe.kind} probe {probe.target!r}: {error}", field=field) from None


def _check_local(request: Submission) -> None:
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


def _check_images(request: Submission) -> None:
    bare = [service.name for service in request.spec.services if service.image is None]
    if bare and request.build is None:
        raise Invalid(
            f"{', '.join(bare)} cannot run as a container without an image",
            field="build",
            remedy="deploy a build, and make its image: dynamoctl containerize",
        )


def new_graph(request: Submission, name: str, now: float) -> GraphRecord:
    return GraphRecord(
        id=f"g-{_random(10)}",
        project=request.project,
        name=name,
        driver=request.driver,
        revision=1,
        created_at=now,
        updated_at=now,
    )


def kept_scale(graph: GraphRecord, before: RevisionRecord | None, after: RevisionRecord) -> dict[str, int]:
    """Counts that were set by hand stay where the new revision asks for as many as the old one did."""
    if before is None:
        return {}
    asked = {service.name: service.workers for service in before.spec.services}
    same = {service.name for service in after.spec.services if asked.get(service.name) == service.workers}
    return {name: count for name, count in graph.scale.items() if name in same}


def revision_of(request: Submission, graph_id: str, number: int, cause: str, now: float) -> RevisionRecord:
    return RevisionRecord(
        graph_id=graph_id,
        number=number,
        digest=submitted_digest(request.spec, request.envs, request.build, request.kubernetes),
        spec=request.spec,
        envs=request.envs,
        build=request.build,
        kubernetes=dict(request.kubernetes),
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
