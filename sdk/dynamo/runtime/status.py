"""What processes say about themselves in discovery: shapes, not behaviour.

Values of discovery keys are JSON of these structs (see the replica contract). Unknown fields are ignored,
so that an older reader survives a newer writer.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

T = TypeVar("T")

InstanceStatus = Literal["ready", "busy", "draining"]
ReplicaState = Literal["starting", "ready", "unready", "draining"]


class Address(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every way to reach one process.

    `host_id` names the running kernel (its boot id): who has the same one may use the Unix socket `unix`.
    `tcp` is `host:port`, empty when the process offers none; `nats` the subject prefix it listens on.
    """

    host_id: str = ""
    unix: str = ""
    tcp: str = ""
    nats: str = ""


class Instance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process that serves one endpoint. `status` is what it says about taking requests."""

    instance_id: int
    namespace: str
    component: str
    endpoint: str
    address: Address
    status: InstanceStatus = "ready"
    metadata: dict[str, str] = {}

    @property
    def path(self) -> str:
        return f"{self.namespace}/{self.component}/{self.endpoint}"


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One replica's own report. `progress` is for people, `message` explains `unready`.

    `http` is the base URL of its HTTP face, empty when there is none. `instance_id` is 0 until it has one.
    `alive` is what its liveness handlers say; one that is not should be started anew. `run` counts the starts of
    this replica, 0 where nobody counts: it tells a status from an earlier run's last words.
    """

    replica_id: str
    service: str
    pid: int
    host: str
    state: ReplicaState
    progress: str = ""
    message: str = ""
    instance_id: int = 0
    http: str = ""
    address: Address = Address()
    alive: bool = True
    run: int = 0


def encode(value: Instance | ReplicaStatus) -> bytes:
    """The JSON that is put into discovery."""
    return msgspec.json.encode(value)


def decode_instance(value: bytes) -> Instance:
    """Raises `msgspec.ValidationError` or `msgspec.DecodeError` on what is not an `Instance`."""
    return _decode(value, Instance)


def decode_status(value: bytes) -> ReplicaStatus:
    """Raises `msgspec.ValidationError` or `msgspec.DecodeError` on what is not a `ReplicaStatus`."""
    return _decode(value, ReplicaStatus)


def _decode(value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:  # anybody may write to discovery
        raise msgspec.DecodeError(str(error)) from None
