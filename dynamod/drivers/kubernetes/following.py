"""One graph of a cluster, followed: its pods and workloads are watched, its logs kept, and all of it is one picture."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from dynamod.core.delegation import Trouble
from dynamod.drivers.base import Picture, Wanted
from dynamod.drivers.kubernetes.cluster import Cluster, Key
from dynamod.drivers.kubernetes.comparing import APPLIED, differences, stamped
from dynamod.drivers.kubernetes.deploying import service_of
from dynamod.drivers.kubernetes.errors import AccessForbidden, one_error
from dynamod.drivers.kubernetes.naming import SERVICE, label_value
from dynamod.drivers.kubernetes.placing import made_of, names_of_wanted, options_of
from dynamod.drivers.kubernetes.pod_logs import PodLogs, Started
from dynamod.drivers.kubernetes.pod_status import replica_of, verdict
from dynamod.drivers.kubernetes.pods import http_port, system_port
from dynamod.drivers.kubernetes.reaching import Reach, Reachable
from dynamod.drivers.kubernetes.workloads import Object
from dynamod.schema.graphs import Replica
from dynamod.schema.states import Reason, ReplicaState

HEARTBEAT_S = 5.0
"""Seconds between questions to the API server: a watch alone does not tell that nobody is there any more."""
COALESCE_S = 0.05
_WARNINGS = {"involvedObject.kind": "Pod", "type": "Warning"}
_WORKLOADS = ("Deployment", "StatefulSet")
_GOOD = (ReplicaState.READY, ReplicaState.STARTING, ReplicaState.STOPPING)


class Following:
    """`run` tells of the graph until it is cancelled; `look_again` when something else is wanted of it."""

    def __init__(
        self,
        cluster: Cluster,
        wanted: Callable[[], Wanted],
        tell: Callable[[Picture], None],
        logs: PodLogs,
        reach: Reach,
    ) -> None:
        self._cluster = cluster
        self._wanted = wanted
        self._tell = tell
        self._logs = logs
        self._reach = reach
        self._news = asyncio.Event()
        self._generations: Mapping[Key, int] = {}
        self._warnings: Mapping[str, str] = {}
        self._found: dict[str, Mapping[str, Object]] = {}

    def look_again(self) -> None:
        """Make the picture anew."""
        self._news.set()

    def brought(self, generations: Mapping[Key, int]) -> None:
        """The graph was applied; its objects have these generations as long as nobody changes them."""
        self._generations = generations
        self._news.set()

    async def run(self) -> None:
        """Raises AccessForbidden, ClusterRefused, ClusterUnreachable: nothing is seen any more."""
        selector = names_of_wanted(self._wanted()).graph_selector()
        with one_error():
            async with asyncio.TaskGroup() as group:
                for version, kind in (("v1", "Pod"), *(("apps/v1", kind) for kind in _WORKLOADS)):
                    group.create_task(self._cluster.watch(version, kind, selector, self._keeper(kind)))
                group.create_task(self._watch_warnings())
                group.create_task(self._heartbeat())
                group.create_task(self._show())

    def _keeper(self, kind: str) -> Callable[[Mapping[str, Object]], None]:
        def keep(found: Mapping[str, Object]) -> None:
            self._found[kind] = found
            self._news.set()

        return keep

    async def _watch_warnings(self) -> None:
        """What the cluster warns of often says more of a pod that waits than the pod does; who may not see it does
        without."""
        with suppress(AccessForbidden):
            await self._cluster.watch("v1", "Event", {}, self._warned, fields=_WARNINGS)

    def _warned(self, found: Mapping[str, Object]) -> None:
        self._warnings = warnings_of(found.values())
        self._news.set()

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self._cluster.streams.ping()

    async def _show(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(COALESCE_S)
            self._news.clear()
            if {"Pod", *_WORKLOADS} <= self._found.keys():
                self._tell(self._picture())

    def _picture(self) -> Picture:
        wanted = self._wanted()
        pods = [pod for pod in self._found["Pod"].values() if SERVICE in pod["metadata"].get("labels", {})]
        helpers = [pod for pod in self._found["Pod"].values() if SERVICE not in pod["metadata"].get("labels", {})]
        workloads = {(kind, name): one for kind in _WORKLOADS for name, one in self._found[kind].items()}
        self._reach.follow(_reachable(wanted, pods))
        self._logs.follow({pod["metadata"]["name"]: started for pod in pods if (started := _started(pod)) is not None})
        found = [service_of(one) for one in workloads.values()]
        # Pods that have ended stay until they are collected; they are in nobody's way.
        busy = [pod for pod in pods if verdict(pod).state is not ReplicaState.EXITED and not _is_over(pod)]
        return Picture(
            replicas=tuple(self._replicas(wanted, pods)),
            leaving=frozenset(pod["metadata"]["name"] for pod in pods if _is_leaving(pod)),
            settled=all(one.settled for one in found) and (wanted.running or not busy),
            astray=astray(wanted, workloads, self._generations),
            hindrance=hindrance(workloads.values(), helpers),
            overdue=any(
                _condition(one, "Progressing").get("reason") == "ProgressDeadlineExceeded" for one in workloads.values()
            ),
        )

    def _replicas(self, wanted: Wanted, pods: Iterable[Object]) -> Iterable[Replica]:
        services = {label_value(service.name): service for service in wanted.spec.services}
        for pod in sorted(pods, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"])):
            replica = replica_of(pod)
            service = services.get(replica.service)
            port = http_port(service) if service is not None else None
            at_home = f"http://{replica.address}:{port}" if replica.address and port else None
            said = self._reach.status(replica.id)
            replica = replace(
                replica,
                service=service.name if service is not None else replica.service,
                address=(self._reach.address(replica.id) or at_home) if port else None,
            )
            if replica.state is ReplicaState.PENDING and not replica.message:
                replica = replace(replica, message=self._warnings.get(pod["metadata"]["uid"], ""))
            if said is not None and replica.state is ReplicaState.STARTING:
                replica = replace(replica, reason=Reason.STARTING_UP, progress=said.progress)
            elif said is not None and replica.state is ReplicaState.UNREADY and said.state == "unready":
                replica = replace(replica, message=said.message)
            yield replica


def warnings_of(events: Iterable[Object]) -> dict[str, str]:
    """The last warning about each pod, by the pod's uid."""
    last: dict[str, tuple[str, str]] = {}
    for one in events:
        at = one.get("lastTimestamp") or one.get("eventTime") or one["metadata"]["creationTimestamp"]
        told = (at, f"{one.get('reason', '')}: {' '.join(one.get('message', '').split())}")
        about = one["involvedObject"].get("uid", "")
        last[about] = max(last.get(about, told), told)
    return {about: words for about, (_, words) in last.items()}


def astray(wanted: Wanted, live: Mapping[Key, Object], brought: Mapping[Key, int]) -> str:
    """What is not as it was told, in words. What a webhook made of it is as good as it gets."""
    meant = {(o["kind"], o["metadata"]["name"]): o for o in made_of(wanted).objects if o["kind"] in _WORKLOADS}
    for key, one in meant.items():
        path = f"{key[0].lower()}/{key[1]}"
        if key not in live:
            return f"{path} is not there"
        about = live[key]["metadata"]
        meant_as = stamped(one)
        is_ours = about.get("annotations", {}).get(APPLIED) == meant_as["metadata"]["annotations"][APPLIED]
        if is_ours and about.get("generation", 0) == brought.get(key, -1):
            continue
        if (field := next(differences(live[key], meant_as), None)) is not None:
            return f"{path}: {field} is not as it was applied"
    return next((f"{kind.lower()}/{name} is not wanted" for kind, name in live.keys() - meant.keys()), "")


def hindrance(workloads: Iterable[Object], helpers: Iterable[Object]) -> Trouble | None:
    """Replicas that cannot even be made, and servers of the graph's own that do not run."""
    for one in workloads:
        failure = _condition(one, "ReplicaFailure")
        if failure.get("status") == "True":
            path = f"{one.get('kind', 'workload').lower()}/{one['metadata']['name']}"
            return Trouble(Reason.FORBIDDEN, f"{path}: {failure.get('message', '')}", needs_change=True)
    for pod in helpers:
        found = verdict(pod)
        if found.state not in _GOOD and not _is_over(pod):
            words = f"{pod['metadata']['name']}: {found.message or found.reason.replace('_', ' ')}"
            return Trouble(found.reason, words, needs_change=False)
    return None


def _reachable(wanted: Wanted, pods: Iterable[Object]) -> dict[str, Reachable]:
    options = options_of(wanted)
    services = {label_value(service.name): service for service in wanted.spec.services}
    found = {}
    for pod in pods:
        about, status = pod["metadata"], pod.get("status", {})
        service = services.get(about["labels"][SERVICE])
        if service is None or status.get("phase") != "Running" or not status.get("podIP") or _is_leaving(pod):
            continue
        found[about["name"]] = Reachable(
            about["name"], about["uid"], status["podIP"], system_port(service, options), http_port(service)
        )
    return found


def _started(pod: Object) -> Started | None:
    container = _container(pod)
    state, before = container.get("state", {}), container.get("lastState", {})
    past = before.get("terminated", {}).get("containerID", "")
    if "running" in state or "terminated" in state:
        now = container.get("containerID") or state.get("terminated", {}).get("containerID", "")
        return Started(now, past, over="running" not in state) if now else None
    return Started(past, over=True) if past else None  # it waits to be started again


def _container(pod: Object) -> Mapping[str, Any]:
    found: list[dict[str, Any]] = pod.get("status", {}).get("containerStatuses", [])
    return next((one for one in found if one.get("name") == "main"), {})


def _is_over(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def _is_leaving(pod: Object) -> bool:
    return _is_over(pod) or bool(pod["metadata"].get("deletionTimestamp"))


def _condition(one: Object, kind: str) -> Mapping[str, Any]:
    return next((c for c in one.get("status", {}).get("conditions", []) if c.get("type") == kind), {})
