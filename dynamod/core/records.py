"""What the engine remembers: graphs, revisions, replicas and GPU claims, as immutable data.

Times are seconds since the epoch. The wire model (`dynamod.schema`) is made from these.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from dynamo.sdk.spec import GraphSpec, ServiceSpec
from dynamod.schema.builds import Build
from dynamod.schema.graphs import ExitInfo, GpuShare
from dynamod.schema.states import GraphState, Reason, ReplicaState


class Goal(StrEnum):
    """What is wanted of a graph."""

    RUN = "run"
    STOP = "stop"
    REMOVE = "remove"


class Then(StrEnum):
    """What becomes of a replica once the end that was asked for has come."""

    KEEP = "keep"  # stays as exited; the graph may be started again
    REMOVE = "remove"
    RESTART = "restart"
    RETRY = "retry"  # restart, and count it as a failure


class Doom(msgspec.Struct, frozen=True):
    """An end that was asked for: the tombstone that survives the daemon. TERM turns into KILL at `deadline`."""

    reason: Reason
    then: Then
    deadline: float
    message: str = ""
    killed: bool = False


class RevisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`envs` are those given with the submission, on top of the spec's; `kubernetes` that driver's options."""

    graph_id: str
    number: int
    digest: str
    spec: GraphSpec
    envs: dict[str, str] = {}
    build: str | None = None
    kubernetes: dict[str, Any] = {}
    cause: str = ""
    created_at: float


class GraphRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`revision` is the one wanted; `stable` the last one that became ready as a whole (0: none yet).

    `scale` holds replica counts that differ from the spec's. `version` grows with every change. `underway` is why the
    graph is not settled although nothing has failed (it was started, or is being restarted), until it is; `restarted`
    when a restart of a service was asked for: what began before is replaced, one replica at a time.
    """

    id: str
    project: str
    name: str
    driver: str
    goal: Goal = Goal.RUN
    state: GraphState = GraphState.PENDING
    reason: Reason = Reason.SUBMITTED
    message: str = ""
    revision: int
    stable: int = 0
    scale: dict[str, int] = {}
    stop_timeout: float | None = None
    underway: Reason | None = None
    restarted: dict[str, float] = {}
    version: int = 1
    created_at: float
    updated_at: float

    def wanted(self, service: ServiceSpec) -> int:
        return self.scale.get(service.name, service.workers)


class ReplicaRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`run` counts its starts; `failures` are the times of its unasked ends within the restart window.

    `probe` is what the last readiness probe said, `ready_at` when this run first was ready; `placement` says of each
    device why it was taken or not.
    """

    id: str
    graph_id: str
    project: str
    graph: str
    service: str
    index: int
    revision: int
    driver: str
    state: ReplicaState = ReplicaState.PENDING
    reason: Reason = Reason.SCHEDULED
    message: str = ""
    progress: str = ""
    run: int = 0
    pid: int | None = None
    container: str | None = None
    host: str = ""
    address: str | None = None
    gpus: tuple[GpuShare, ...] = ()
    placement: tuple[str, ...] = ()
    failures: tuple[float, ...] = ()
    next_retry_at: float | None = None
    doom: Doom | None = None
    last_exit: ExitInfo | None = None
    probe: str = ""
    created_at: float
    started_at: float | None = None
    ready_at: float | None = None
    updated_at: float


class ClaimRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A share of a device that a replica holds. `slot` makes it unique: shares of one device have different slots.

    `releasing` is set once the replica has ended and the device's memory has not been seen free yet.
    """

    uuid: str
    slot: int
    index: int
    share: float
    replica_id: str
    releasing: bool = False
    created_at: float


class BuildRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A tag and the build that it names. In `build`, `path` and `used_by` are left to whoever shows it."""

    name: str
    version: str
    digest: str
    build: Build
    stored_at: float

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"
