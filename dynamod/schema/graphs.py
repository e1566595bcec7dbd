"""Graphs, services, revisions and replicas on the wire. Times ending in `_at` are RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from dynamo.sdk.spec import GraphSpec
from dynamod.schema.states import GraphState, OperationKind, Reason, ReplicaState

DriverName = Literal["process", "docker", "kubernetes"]
T = TypeVar("T")

MAX_REPLICAS = 1024
"""Of one service."""
MAX_STOP_TIMEOUT = 86400
"""Seconds."""


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list. `next` is the cursor of the following page, or None on the last one."""

    items: list[T]
    next: str | None = None


class BuildSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a build is configured anew when it is submitted, as the command line configures a working tree.

    `config` is the text of a configuration file (YAML); `overrides` are `--Service.key=value`, as typed; `port` and
    `host` are those of the first service with HTTP routes.
    """

    config: str | None = None
    overrides: tuple[str, ...] = ()
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    host: str | None = None


class GraphSubmit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Create a graph, or a new revision of it. Creating is idempotent by name and spec digest.

    Either `spec` says what to run, or `build` does: the tag or digest of a build that the daemon keeps, with
    `settings` on top of its own configuration. The revision then records the build's digest.

    `kubernetes` goes with that driver alone: the options of docs/kubernetes.md, and `kubeconfig`, `context`, `reach`.
    With the others, `env_secrets` name secrets of the daemon's machine whose every key becomes a variable, and
    `secret_envs` are variables from one key each (`NAME/KEY`).
    """

    spec: GraphSpec | None = None
    name: str | None = None
    project: str = "default"
    driver: DriverName = "process"
    build: str | None = None
    settings: BuildSettings | None = None
    envs: dict[str, str] = {}
    kubernetes: dict[str, Any] = {}
    env_secrets: list[str] = []
    secret_envs: dict[str, str] = {}


class ScaleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    replicas: Annotated[int, msgspec.Meta(ge=0, le=MAX_REPLICAS)]


class RestartRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Restart every replica of the graph, or of one service, or one replica."""

    service: str | None = None
    replica: str | None = None


class StopRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`timeout`: seconds to drain before TERM turns into KILL; None takes each service's own."""

    timeout: Annotated[float, msgspec.Meta(ge=0, le=MAX_STOP_TIMEOUT)] | None = None


class RollbackRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`to`: a revision number; None means the one before the current."""

    to: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None


class DrainRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let one replica, or all of one service, finish what they have begun and be replaced by fresh ones.

    `timeout`: seconds for the requests under way; None takes the service's own.
    """

    service: str | None = None
    replica: str | None = None
    timeout: Annotated[float, msgspec.Meta(ge=0, le=MAX_STOP_TIMEOUT)] | None = None


ChangeAction = Literal["settle", "scale", "restart", "drain", "stop", "start", "remove", "rollback"]


class GraphChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of a graph that is there, to be planned: the fields are those of the request that would make it.

    `settle` changes nothing that is wanted: its plan is what the daemon has yet to do.
    """

    graph: str
    action: ChangeAction
    project: str = "default"
    service: str | None = None
    replica: str | None = None
    replicas: Annotated[int, msgspec.Meta(ge=0, le=MAX_REPLICAS)] | None = None
    to: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None
    timeout: Annotated[float, msgspec.Meta(ge=0, le=MAX_STOP_TIMEOUT)] | None = None


class GpuShare(msgspec.Struct, frozen=True, kw_only=True):
    """A claim on one device. `share` is 1.0 for a whole one."""

    uuid: str
    index: int
    share: float = 1.0


class ExitInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How a replica's last process ended. `code` is None when a signal ended it."""

    code: int | None = None
    signal: str | None = None
    oom_killed: bool = False
    at: datetime | None = None
    reason: Reason | None = None


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    attribute: str
    service: str


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`desired` replicas are wanted, `ready` of them serve. `address` is the URL of its HTTP face, if any."""

    name: str
    component: str
    namespace: str
    desired: int
    ready: int
    total: int
    restarts: int = 0
    endpoints: list[str] = []
    dependencies: list[Edge] = []
    cpu: float | None = None
    memory: int | None = None
    gpu: float = 0.0
    address: str | None = None


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """A graph as it is now. `etag` changes with every change; send it as If-Match to update only what you saw."""

    id: str
    project: str
    name: str
    driver: str
    state: GraphState
    reason: Reason
    message: str = ""
    revision: int
    digest: str
    entry: str
    services: list[ServiceStatus]
    address: str | None = None
    created_at: datetime
    updated_at: datetime
    etag: str = ""


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable version of a graph's spec."""

    number: int
    digest: str
    created_at: datetime
    cause: str
    build: str | None = None
    active: bool = False
    spec: GraphSpec | None = None


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One running copy of a service, and the reason for its state.

    `restarts` counts in the current budget window; `next_retry_at` is set while it backs off.
    `progress` is what the replica itself says of its start-up.
    """

    id: str
    project: str
    graph: str
    service: str
    index: int
    revision: int
    driver: str
    state: ReplicaState
    reason: Reason
    message: str = ""
    progress: str = ""
    pid: int | None = None
    container: str | None = None
    host: str = ""
    address: str | None = None
    gpus: list[GpuShare] = []
    restarts: int = 0
    next_retry_at: datetime | None = None
    last_exit: ExitInfo | None = None
    created_at: datetime
    started_at: datetime | None = None
    ready_at: datetime | None = None
    updated_at: datetime


class PlanOperation(msgspec.Struct, frozen=True, kw_only=True):
    """One step, and why it is needed.

    `gpus` are those that a start takes and a stop gives back; `placement` says why a start takes just these.
    `drain_timeout`: seconds that a stop leaves to the requests under way.
    """

    kind: OperationKind
    service: str
    replica: str | None = None
    index: int | None = None
    cause: str
    gpus: list[GpuShare] = []
    wave: int = 0
    placement: list[str] = []
    drain_timeout: float | None = None


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between two revisions. `path` is dotted, e.g. `services.Worker.config.model`."""

    path: str
    before: Any = None
    after: Any = None


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be planned: either a submission, or a change of a graph that is there."""

    submit: GraphSubmit | None = None
    change: GraphChange | None = None


Strategy = Literal["none", "create", "surge", "stop_then_start", "scale", "restart", "drain", "stop", "start", "apply"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done, and the fingerprint of the state it was made from.

    `apply` refuses a plan whose `basis` is no longer the state of the world. `manifests` are what a cluster is to
    have, YAML; the notes of such a plan say what the graph asks for and a cluster has no word for.
    """

    id: str
    graph: str
    project: str
    basis: str
    changes: list[FieldChange]
    operations: list[PlanOperation]
    notes: list[str] = []
    strategy: Strategy = "none"
    manifests: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.changes and not self.operations


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that explains one replica, on one screen. `limits` is what a local process may use."""

    replica: Replica
    summary: str
    placement: list[str] = []
    limits: str = ""
    waiting_for: list[str] = []
    probe: str = ""
    events: list[Any] = []
    log_tail: list[str] = []
