"""States, reasons and actions: the closed vocabularies of the wire model."""

from __future__ import annotations

from enum import StrEnum


class ReplicaState(StrEnum):
    PENDING = "pending"  # wanted, not started: waits for a dependency, a GPU, or its next retry
    STARTING = "starting"  # its process runs and has not been ready yet
    READY = "ready"
    UNREADY = "unready"  # was ready; its readiness probe fails now
    STOPPING = "stopping"  # draining, or told to stop
    EXITED = "exited"  # ended because it was asked to
    FAILED = "failed"  # ended on its own, and its restart budget is spent
    LOST = "lost"  # cannot be reached and cannot be proved dead

    @property
    def is_terminal(self) -> bool:
        return self in (ReplicaState.EXITED, ReplicaState.FAILED)

    @property
    def holds_process(self) -> bool:
        """A process may exist: its GPUs and ports are not free."""
        return self in (
            ReplicaState.STARTING,
            ReplicaState.READY,
            ReplicaState.UNREADY,
            ReplicaState.STOPPING,
            ReplicaState.LOST,
        )


class GraphState(StrEnum):
    PENDING = "pending"
    DEPLOYING = "deploying"  # a revision is being rolled out
    READY = "ready"  # every service has the replicas it wants, all ready
    DEGRADED = "degraded"  # it was ready, and some replica is not
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"  # cannot become ready without a change; `reason` says why


class Reason(StrEnum):
    """Why a replica or graph is in its state. Evidence stands beside it, in `message` and `exit`."""

    SUBMITTED = "submitted"
    SCHEDULED = "scheduled"
    WAITING_FOR_DEPENDENCY = "waiting_for_dependency"
    WAITING_FOR_GPU = "waiting_for_gpu"
    WAITING_FOR_INVENTORY = "waiting_for_inventory"
    BACKING_OFF = "backing_off"
    SPAWNED = "spawned"
    SPAWN_FAILED = "spawn_failed"
    STARTING_UP = "starting_up"  # the replica says how far it is, e.g. "loading weights 3/8"
    ADOPTED = "adopted"
    PROBE_SUCCEEDED = "probe_succeeded"
    READINESS_FAILED = "readiness_failed"
    LIVENESS_FAILED = "liveness_failed"
    STARTUP_TIMEOUT = "startup_timeout"
    CONTACT_LOST = "contact_lost"
    EXITED_CLEANLY = "exited_cleanly"
    EXITED_WITH_ERROR = "exited_with_error"
    KILLED_BY_SIGNAL = "killed_by_signal"
    OUT_OF_MEMORY = "out_of_memory"
    EXIT_UNKNOWN = "exit_unknown"  # gone, and no exit record was left
    RESTART_BUDGET_SPENT = "restart_budget_spent"
    SCALED_DOWN = "scaled_down"
    SCALED_UP = "scaled_up"
    ROLLING_UPDATE = "rolling_update"
    ROLLED_BACK = "rolled_back"
    RESTART_REQUESTED = "restart_requested"
    STOP_REQUESTED = "stop_requested"
    REMOVE_REQUESTED = "remove_requested"
    DRAINING = "draining"
    GPU_UNAVAILABLE = "gpu_unavailable"
    IMAGE_UNAVAILABLE = "image_unavailable"
    UNSCHEDULABLE = "unschedulable"  # no node of the cluster takes it; the message has the scheduler's own words
    EVICTED = "evicted"  # its node or whoever runs the cluster moved it away
    FORBIDDEN = "forbidden"
    REFUSED = "refused"  # the cluster takes what it was told for wrong, or lacks what it needs
    CONFLICT = "conflict"
    DISK_FULL = "disk_full"
    BACKEND_UNREACHABLE = "backend_unreachable"
    LIMITS_NOT_KEPT = "limits_not_kept"  # cpu or memory that was asked for cannot be limited here; the message says why
    ALL_READY = "all_ready"
    REPLICAS_UNREADY = "replicas_unready"


class Action(StrEnum):
    """What an event records."""

    GRAPH_CREATED = "graph.created"
    GRAPH_UPDATED = "graph.updated"
    GRAPH_STATE = "graph.state"
    GRAPH_REMOVED = "graph.removed"
    SERVICE_SCALED = "service.scaled"
    REVISION_CREATED = "revision.created"
    ROLLOUT_STARTED = "rollout.started"
    ROLLOUT_FINISHED = "rollout.finished"
    ROLLOUT_FAILED = "rollout.failed"
    REPLICA_CREATED = "replica.created"
    REPLICA_STATE = "replica.state"
    REPLICA_PROGRESS = "replica.progress"
    REPLICA_CONDITION = "replica.condition"  # something that is not a state; `reason` and `message` say what
    REPLICA_REMOVED = "replica.removed"
    GPU_CLAIMED = "gpu.claimed"
    GPU_RELEASED = "gpu.released"
    GPU_CONDITION = "gpu.condition"
    BUILD_CREATED = "build.created"
    BUILD_PROGRESS = "build.progress"
    BUILD_FINISHED = "build.finished"
    BUILD_FAILED = "build.failed"
    BUILD_REMOVED = "build.removed"
    DAEMON_STARTED = "daemon.started"
    DAEMON_STOPPED = "daemon.stopped"


class OperationKind(StrEnum):
    """What a plan tells a driver to do with one replica."""

    CREATE = "create"  # a new replica row, to be started when its gates open
    START = "start"
    ADOPT = "adopt"
    DRAIN = "drain"
    STOP = "stop"
    KILL = "kill"
    REMOVE = "remove"
    APPLY = "apply"  # an object of a cluster gets other values
    WAIT = "wait"  # nothing can be done yet; the cause says what for
    KEEP = "keep"
