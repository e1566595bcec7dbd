from __future__ import annotations

from typing import Any

import pytest

from dynamod.drivers.kubernetes.pod_status import replica_of
from dynamod.schema.states import Reason, ReplicaState

CREATED, STARTED, LATER = "2026-01-01T10:00:00Z", "2026-01-01T10:00:05Z", "2026-01-01T10:01:00Z"


def pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    about = {
        "name": "sample-worker-0",
        "creationTimestamp": CREATED,
        "labels": {"ai.dynamo.graph": "sample", "ai.dynamo.service": "Worker", "ai.dynamo.project": "default"},
    }
    return {"metadata": about | metadata, "spec": {"nodeName": "node1"}, "status": status}


def with_container(state: dict[str, Any], *, ready_since: str = CREATED, **said: Any) -> dict[str, Any]:
    container = {"name": "main", "state": state, "restartCount": 2, "containerID": "docker://abc", **said}
    return {
        "phase": "Running",
        "podIP": "10.0.0.5",
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": ready_since}],
        "containerStatuses": [{"name": "injected", "state": {}}, container],
    }


def waiting(reason: str, message: str = "", **said: Any) -> dict[str, Any]:
    return with_container({"waiting": {"reason": reason, "message": message}}, **said)


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def exited(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"exitCode": code, "reason": reason, "finishedAt": LATER}


RUNNING = {"running": {"startedAt": STARTED}}


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        ({"phase": "Pending"}, ReplicaState.PENDING, Reason.SCHEDULED),
        (unscheduled("0/3 nodes: 3 Insufficient nvidia.com/gpu."), ReplicaState.PENDING, Reason.WAITING_FOR_GPU),
        (unscheduled("0/3 nodes: 3 Insufficient memory."), ReplicaState.PENDING, Reason.UNSCHEDULABLE),
        (waiting("ContainerCreating"), ReplicaState.PENDING, Reason.SCHEDULED),
        (waiting("ErrImageNeverPull"), ReplicaState.PENDING, Reason.IMAGE_UNAVAILABLE),
        (waiting("ImagePullBackOff", "Back-off pulling"), ReplicaState.PENDING, Reason.IMAGE_UNAVAILABLE),
        (waiting("CreateContainerConfigError", 'secret "a" not found'), ReplicaState.PENDING, Reason.SPAWN_FAILED),
        (waiting("CrashLoopBackOff"), ReplicaState.PENDING, Reason.BACKING_OFF),
        (with_container(RUNNING), ReplicaState.STARTING, Reason.STARTING_UP),
        (with_container(RUNNING, started=True), ReplicaState.STARTING, Reason.STARTING_UP),
        (with_container(RUNNING, started=True, ready=True), ReplicaState.READY, Reason.PROBE_SUCCEEDED),
        (with_container(RUNNING, started=True, ready_since=LATER), ReplicaState.UNREADY, Reason.READINESS_FAILED),
        (with_container({"terminated": exited(0)}), ReplicaState.EXITED, Reason.EXITED_CLEANLY),
        (with_container({"terminated": exited(2)}), ReplicaState.FAILED, Reason.EXITED_WITH_ERROR),
        (with_container({"terminated": exited(139)}), ReplicaState.FAILED, Reason.KILLED_BY_SIGNAL),
        (with_container({"terminated": exited(137, "OOMKilled")}), ReplicaState.FAILED, Reason.OUT_OF_MEMORY),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."},
            ReplicaState.FAILED,
            Reason.DISK_FULL,
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
            ReplicaState.FAILED,
            Reason.OUT_OF_MEMORY,
        ),
        (
            {"phase": "Failed", "reason": "Shutdown", "message": "going"},
            ReplicaState.FAILED,
            Reason.EVICTED,
        ),
        ({"phase": "Failed", "reason": "OutOfcpu"}, ReplicaState.FAILED, Reason.UNSCHEDULABLE),
        ({"phase": "Running", "reason": "NodeLost"}, ReplicaState.LOST, Reason.CONTACT_LOST),
    ],
)
def test_state_and_reason(status: dict[str, Any], state: ReplicaState, reason: Reason) -> None:
    replica = replica_of(pod(status))
    assert (replica.state, replica.reason) == (state, reason)


def test_a_pod_that_goes_drains_until_its_container_has_ended() -> None:
    replica = replica_of(pod(with_container(RUNNING, ready=True), deletionTimestamp=LATER))
    assert (replica.state, replica.reason) == (ReplicaState.STOPPING, Reason.DRAINING)
    over = replica_of(pod(with_container({"terminated": exited(0)}), deletionTimestamp=LATER))
    assert (over.state, over.reason) == (ReplicaState.EXITED, Reason.EXITED_CLEANLY)
    forgotten = replica_of(pod(waiting("ContainerCreating", ""), deletionTimestamp=LATER))
    assert (forgotten.state, forgotten.reason) == (ReplicaState.EXITED, Reason.EXIT_UNKNOWN)


def test_a_replica_that_backs_off_says_what_ended_it() -> None:
    replica = replica_of(pod(waiting("CrashLoopBackOff", "back-off 10s", lastState={"terminated": exited(3)})))
    assert replica.message == "exited_with_error: exit code 3; back-off 10s"
    assert replica.last_exit is not None
    assert (replica.last_exit.code, replica.last_exit.signal) == (3, None)


def test_a_signal_is_named() -> None:
    last_exit = replica_of(pod(with_container({"terminated": exited(137)}))).last_exit
    assert last_exit is not None
    assert (last_exit.code, last_exit.signal) == (None, "SIGKILL")


def test_the_rest_of_a_replica() -> None:
    owners = [{"kind": "StatefulSet", "name": "sample-worker"}]
    replica = replica_of(pod(with_container(RUNNING), ownerReferences=owners), revision=4)
    assert (replica.id, replica.graph, replica.service, replica.index) == ("sample-worker-0", "sample", "Worker", 1)
    assert (replica.revision, replica.restarts, replica.container) == (4, 2, "abc")
    assert (replica.host, replica.address, replica.driver) == ("node1", "10.0.0.5", "kubernetes")
    assert replica_of(pod(with_container(RUNNING))).index == 0, "a Deployment's pods have no number"
