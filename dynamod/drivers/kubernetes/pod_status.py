"""What a pod says of its replica: state, reason, evidence. Pure, from the pod as the API gives it."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dynamod.drivers.kubernetes.naming import GRAPH, PROJECT, SERVICE
from dynamod.schema.graphs import ExitInfo, Replica
from dynamod.schema.states import Reason, ReplicaState

_NO_IMAGE = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
_CANNOT_START = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun"}
)
_ORDINAL = re.compile(r".*-([0-9]{1,9})")


@dataclass(frozen=True)
class Verdict:
    state: ReplicaState
    reason: Reason
    message: str = ""


def replica_of(pod: Mapping[str, Any], *, revision: int = 0, index: int | None = None) -> Replica:
    """The pod as a replica of the wire model. `index` is its place among its like where its name has no ordinal."""
    about, status = pod["metadata"], pod.get("status", {})
    labels = about.get("labels", {})
    container = _container(status)
    found = verdict(pod)
    ready_at = _condition(status, "Ready").get("lastTransitionTime")
    running = container.get("state", {}).get("running", {})
    return Replica(
        id=about["name"],
        project=labels.get(PROJECT, ""),
        graph=labels.get(GRAPH, ""),
        service=labels.get(SERVICE, ""),
        index=_index(pod) if index is None else index,
        revision=revision,
        driver="kubernetes",
        state=found.state,
        reason=found.reason,
        message=found.message,
        container=container.get("containerID", "").rpartition("/")[2] or None,
        host=pod.get("spec", {}).get("nodeName", ""),
        address=status.get("podIP"),
        restarts=container.get("restartCount", 0),
        last_exit=_last_exit(container),
        created_at=_time(about["creationTimestamp"]),
        started_at=_time(running["startedAt"]) if running else None,
        ready_at=_time(ready_at) if ready_at and found.state is ReplicaState.READY else None,
        updated_at=_updated(about, status),
    )


def verdict(pod: Mapping[str, Any]) -> Verdict:
    """State and reason, the most telling evidence first."""
    status = pod.get("status", {})
    phase, why = status.get("phase", "Pending"), status.get("reason", "")
    if why == "NodeLost" or _condition(status, "Ready").get("reason") == "NodeStatusUnknown":
        return Verdict(ReplicaState.LOST, Reason.CONTACT_LOST, status.get("message") or "its node is out of contact")
    if pod["metadata"].get("deletionTimestamp"):
        state = _container(status).get("state", {})
        if "running" in state:
            return Verdict(ReplicaState.STOPPING, Reason.DRAINING)
        # The pod stays until its node has cleaned up after it. Old kubelets forget how the container ended by then.
        over = state.get("terminated")
        return Verdict(ReplicaState.EXITED, ended(over).reason if over else Reason.EXIT_UNKNOWN)
    if phase == "Failed" and not status.get("containerStatuses"):
        return _taken_away(why, status.get("message", ""))
    if phase == "Failed" and why == "Evicted":
        return _taken_away(why, status.get("message", ""))
    return _scheduling(status) or _of_container(status)


def ended(state: Mapping[str, Any]) -> Verdict:
    """How a container ended, from its `terminated`. Codes above 128 are signals, as shells have it."""
    code, name = state.get("exitCode", 0), state.get("signal", 0)
    number = name or (code - 128 if 128 < code <= 128 + 64 else 0)
    words = state.get("message", "").strip()
    if state.get("reason") == "OOMKilled":
        return Verdict(ReplicaState.FAILED, Reason.OUT_OF_MEMORY, words or "killed at its memory limit")
    if state.get("reason") in _CANNOT_START:
        return Verdict(ReplicaState.FAILED, Reason.SPAWN_FAILED, words)
    if number:
        return Verdict(ReplicaState.FAILED, Reason.KILLED_BY_SIGNAL, words or _signal(number))
    if code:
        return Verdict(ReplicaState.FAILED, Reason.EXITED_WITH_ERROR, words or f"exit code {code}")
    return Verdict(ReplicaState.EXITED, Reason.EXITED_CLEANLY, words)


def _scheduling(status: Mapping[str, Any]) -> Verdict | None:
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") != "False":
        return None
    words = scheduled.get("message", "")
    # Extended resources are named in the scheduler's message; devices are the one that people wait for.
    gpu = re.search(r"Insufficient \S*(gpu|mig)\S*", words) is not None
    return Verdict(ReplicaState.PENDING, Reason.WAITING_FOR_GPU if gpu else Reason.UNSCHEDULABLE, words)


def _of_container(status: Mapping[str, Any]) -> Verdict:
    container = _container(status)
    state = container.get("state", {})
    if (waiting := state.get("waiting")) is not None:
        return _waiting(waiting, container)
    if (terminated := state.get("terminated")) is not None:
        return ended(terminated)
    if "running" not in state:
        return Verdict(ReplicaState.PENDING, Reason.SCHEDULED)
    if container.get("ready"):
        return Verdict(ReplicaState.READY, Reason.PROBE_SUCCEEDED)
    # Readiness that has not changed since the container started was never there.
    if container.get("started") and _condition(status, "Ready").get("lastTransitionTime", "") > state["running"].get(
        "startedAt", ""
    ):
        return Verdict(ReplicaState.UNREADY, Reason.READINESS_FAILED)
    return Verdict(ReplicaState.STARTING, Reason.STARTING_UP)


def _waiting(waiting: Mapping[str, Any], container: Mapping[str, Any]) -> Verdict:
    why, words = waiting.get("reason", ""), waiting.get("message", "")
    if why in _NO_IMAGE:
        return Verdict(ReplicaState.PENDING, Reason.IMAGE_UNAVAILABLE, words or why)
    if why in _CANNOT_START:
        return Verdict(ReplicaState.PENDING, Reason.SPAWN_FAILED, words or why)
    if why == "CrashLoopBackOff":
        last = container.get("lastState", {}).get("terminated")
        before = ended(last) if last else None
        cause = f"{before.reason.value}: {before.message}; " if before else ""
        return Verdict(ReplicaState.PENDING, Reason.BACKING_OFF, f"{cause}{words}")
    return Verdict(ReplicaState.PENDING, Reason.SCHEDULED, words)


def _taken_away(why: str, words: str) -> Verdict:
    """The kubelet names the resource that its node was short of."""
    if re.search(r"low on resource: (ephemeral-storage|inodes)|ephemeral local storage|DiskPressure", words):
        return Verdict(ReplicaState.FAILED, Reason.DISK_FULL, words)
    if "low on resource: memory" in words or why == "OOMKilled":
        return Verdict(ReplicaState.FAILED, Reason.OUT_OF_MEMORY, words)
    if "Outof" in why or "OutOf" in why or why == "UnexpectedAdmissionError":
        return Verdict(ReplicaState.FAILED, Reason.UNSCHEDULABLE, words)
    return Verdict(ReplicaState.FAILED, Reason.EVICTED, words or why)


def _last_exit(container: Mapping[str, Any]) -> ExitInfo | None:
    last = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
    if not last:
        return None
    found = ended(last)
    signalled = found.reason is Reason.KILLED_BY_SIGNAL
    code = last.get("exitCode", 0)
    return ExitInfo(
        code=None if signalled else code,
        signal=_signal(last.get("signal") or code - 128) if signalled else None,
        oom_killed=found.reason is Reason.OUT_OF_MEMORY,
        at=_time(last["finishedAt"]) if last.get("finishedAt") else None,
        reason=found.reason,
    )


def _container(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The replica's own container, others being injected by the cluster; or the only one of a server's pod."""
    found: list[dict[str, Any]] = status.get("containerStatuses", [])
    return next((one for one in found if one.get("name") == "main"), found[0] if len(found) == 1 else {})


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((one for one in status.get("conditions", []) if one.get("type") == kind), {})


def _index(pod: Mapping[str, Any]) -> int:
    """The ordinal of a StatefulSet's pod, counted from 1; 0 where replicas have no number."""
    owners = pod["metadata"].get("ownerReferences", [])
    found = _ORDINAL.fullmatch(pod["metadata"]["name"])
    return int(found[1]) + 1 if found and any(one.get("kind") == "StatefulSet" for one in owners) else 0


def _updated(about: Mapping[str, Any], status: Mapping[str, Any]) -> datetime:
    times = [one["lastTransitionTime"] for one in status.get("conditions", []) if one.get("lastTransitionTime")]
    return _time(max([about["creationTimestamp"], *times]))


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
