"""Keeps secrets out of what we write and answer: specs, plans and our own log. What is one, `schema.secrecy` says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from dynamo.sdk.spec import GraphSpec
from dynamod.schema import FieldChange, Plan, Revision
from dynamod.schema.secrecy import HIDDEN, is_secret_name, redact_text


def redact_values(values: Mapping[str, str]) -> dict[str, str]:
    return {name: HIDDEN if value and is_secret_name(name) else value for name, value in values.items()}


def redact_tree(value: Any) -> Any:
    """The same plain data with the values under secret names hidden, at every depth."""
    if isinstance(value, dict):
        return {key: HIDDEN if _is_secret(key, item) else redact_tree(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_tree(item) for item in value]
    return value


def redact_spec(spec: GraphSpec) -> GraphSpec:
    """The spec as the API shows it."""
    services = tuple(
        msgspec.structs.replace(
            service,
            envs=redact_values(service.envs),
            config=redact_tree(service.config),
            extra=redact_tree(service.extra),
            kubernetes_overrides=redact_tree(service.kubernetes_overrides),
        )
        for service in spec.services
    )
    return msgspec.structs.replace(
        spec, services=services, envs=redact_values(spec.envs), config=redact_tree(spec.config)
    )


def redact_revision(revision: Revision) -> Revision:
    if revision.spec is None:
        return revision
    return msgspec.structs.replace(revision, spec=redact_spec(revision.spec))


def redact_plan(plan: Plan) -> Plan:
    return msgspec.structs.replace(plan, changes=[_redact_change(change) for change in plan.changes])


def _redact_change(change: FieldChange) -> FieldChange:
    named = {change.path: change.before}, {change.path: change.after}
    before, after = (redact_tree(side)[change.path] for side in named)
    return msgspec.structs.replace(change, before=before, after=after)


class RedactingFormatter(logging.Formatter):
    """Formats a record, traceback included, and hides what looks like a secret."""

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))


def _is_secret(key: Any, value: Any) -> bool:
    return isinstance(key, str) and bool(value) and not isinstance(value, dict | list) and is_secret_name(key)
