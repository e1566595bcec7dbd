"""Revisions compared: what changed between two specs, and which replicas a change concerns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec
from dynamod.core.records import RevisionRecord
from dynamod.schema.graphs import FieldChange

COMMON = "Common"
SERVICE_ARGS = "ServiceArgs"
_ABSENT = object()


def template_digest(revision: RevisionRecord, service: str) -> str:
    """Equal for two revisions exactly when a replica of `service` need not be replaced between them.

    Everything that its process is started with counts, except the number of replicas and what governs it
    from outside (probes, restart policy, drain timeout).
    """
    spec = revision.spec
    own = spec.service(service)
    bare = replace(own, workers=0, probes=type(own.probes)(), restart=type(own.restart)(), drain_timeout=0.0)
    parts: dict[str, Any] = {
        "service": bare,
        # What `ServiceArgs` say stands in the service's own fields already.
        "config": [_without_service_args(spec.config.get(service)), spec.config.get(COMMON)],
        "envs": {**spec.envs, **revision.envs},
        "build": revision.build,
        "where": [spec.target, spec.namespace, spec.interpreter, spec.working_dir],
    }
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _without_service_args(config: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (config or {}).items() if key != SERVICE_ARGS}


def changes(before: RevisionRecord | None, after: RevisionRecord) -> list[FieldChange]:
    """Every differing field, by dotted path; services by name. A first revision is all new: its services are listed.

    What a service has from the graph's configuration is told there alone: `config.<service>.<key>`.
    """
    if before is None:
        return [FieldChange(path=f"services.{service.name}", after=service.target) for service in after.spec.services]
    return list(_differences("", _by_name(before), _by_name(after)))


def _by_name(revision: RevisionRecord) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(revision.spec)
    plain["services"] = {service["name"]: service for service in plain["services"]}
    common = plain["config"].get(COMMON, {})
    for name, service in plain["services"].items():
        given = {**common, **plain["config"].get(name, {})}
        service["config"] = {k: v for k, v in service["config"].items() if given.get(k, _ABSENT) != v}
    plain["envs"] = {**revision.spec.envs, **revision.envs}
    plain["build"] = revision.build
    plain["kubernetes"] = revision.kubernetes
    return plain


def _differences(path: str, before: Any, after: Any) -> Iterator[FieldChange]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            where = f"{path}.{key}" if path else str(key)
            yield from _differences(where, before.get(key, _ABSENT), after.get(key, _ABSENT))
    elif before != after:
        yield FieldChange(
            path=path, before=None if before is _ABSENT else before, after=None if after is _ABSENT else after
        )


def submitted_digest(
    spec: GraphSpec, envs: dict[str, str], build: str | None, kubernetes: Mapping[str, Any] | None = None
) -> str:
    """The identity of a submission: the spec's own digest when it came alone."""
    if not envs and build is None and not kubernetes:
        return spec.digest()
    parts = [spec, envs, build, *([kubernetes] if kubernetes else [])]
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
