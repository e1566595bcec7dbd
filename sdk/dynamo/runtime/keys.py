"""Every discovery key, built and parsed in one place.

Layout: `/dynamo/<scope>/{instances,replicas,events,models}/…` (see the replica contract). A scope is
`<project>/<graph>`. Endpoint names and event subjects may contain `/` (`chat/completions`), therefore
`/` inside a name is written as `%2F`; `%` as `%25`.
"""

from __future__ import annotations

from typing import NamedTuple

ROOT = "/dynamo"


class InstanceKey(NamedTuple):
    namespace: str
    component: str
    endpoint: str
    instance_id: int


class EventKey(NamedTuple):
    namespace: str
    subject: str
    instance_id: int


def quote(name: str) -> str:
    """One name as one key segment."""
    return name.replace("%", "%25").replace("/", "%2F")


def unquote(segment: str) -> str:
    return segment.replace("%2F", "/").replace("%25", "%")


def scope_prefix(scope: str) -> str:
    return f"{ROOT}/{scope.strip('/')}/" if scope.strip("/") else f"{ROOT}/"


def instances_prefix(scope: str, namespace: str = "", component: str = "", endpoint: str = "") -> str:
    """The prefix of all instances, or those of a namespace, a component or an endpoint."""
    prefix = f"{scope_prefix(scope)}instances/"
    for name in (namespace, component, endpoint):
        if not name:
            break
        prefix += f"{quote(name)}/"
    return prefix


def instance_key(scope: str, namespace: str, component: str, endpoint: str, instance_id: int) -> str:
    return f"{instances_prefix(scope, namespace, component, endpoint)}{instance_id:016x}"


def parse_instance_key(scope: str, key: str) -> InstanceKey | None:
    """None for a key that is not an instance's."""
    parts = _tail(instances_prefix(scope), key)
    if len(parts) != 4 or (instance_id := _hex(parts[3])) is None:
        return None
    return InstanceKey(unquote(parts[0]), unquote(parts[1]), unquote(parts[2]), instance_id)


def replicas_prefix(scope: str) -> str:
    return f"{scope_prefix(scope)}replicas/"


def replica_key(scope: str, replica_id: str) -> str:
    return f"{replicas_prefix(scope)}{quote(replica_id)}"


def parse_replica_key(scope: str, key: str) -> str | None:
    """The replica id, or None for a key that is not a replica's."""
    parts = _tail(replicas_prefix(scope), key)
    return unquote(parts[0]) if len(parts) == 1 and parts[0] else None


def events_prefix(scope: str, namespace: str, subject: str) -> str:
    return f"{scope_prefix(scope)}events/{quote(namespace)}/{quote(subject)}/"


def event_key(scope: str, namespace: str, subject: str, instance_id: int) -> str:
    return f"{events_prefix(scope, namespace, subject)}{instance_id:016x}"


def parse_event_key(scope: str, key: str) -> EventKey | None:
    """None for a key that is not a publisher's."""
    parts = _tail(f"{scope_prefix(scope)}events/", key)
    if len(parts) != 3 or (instance_id := _hex(parts[2])) is None:
        return None
    return EventKey(unquote(parts[0]), unquote(parts[1]), instance_id)


def models_prefix(scope: str, model: str = "") -> str:
    return f"{scope_prefix(scope)}models/" + (f"{quote(model)}/" if model else "")


def model_key(scope: str, model: str, instance_id: int) -> str:
    return f"{models_prefix(scope, model)}{instance_id:016x}"


def parse_model_key(scope: str, key: str) -> tuple[str, int] | None:
    """`(model, instance id)`, or None for a key that is not a model's."""
    parts = _tail(models_prefix(scope), key)
    if len(parts) != 2 or (instance_id := _hex(parts[1])) is None:
        return None
    return unquote(parts[0]), instance_id


def deployment_lock_key(scope: str, deployment: str) -> str:
    """Held by the replica that runs a deployment's hooks."""
    return f"{scope_prefix(scope)}deployments/{quote(deployment)}/running"


def deployment_done_prefix(scope: str, deployment: str) -> str:
    return f"{scope_prefix(scope)}deployments/{quote(deployment)}/done/"


def deployment_done_key(scope: str, deployment: str, instance_id: int) -> str:
    return f"{deployment_done_prefix(scope, deployment)}{instance_id:016x}"


def _tail(prefix: str, key: str) -> list[str]:
    return key[len(prefix) :].split("/") if key.startswith(prefix) else []


def _hex(segment: str) -> int | None:
    try:
        return int(segment, 16)
    except ValueError:
        return None
