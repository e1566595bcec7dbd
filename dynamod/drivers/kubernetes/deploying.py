"""A graph's life on a cluster: bring it to what is wanted, say how it fares, follow its logs, take it away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from dynamod.core.errors import EngineError, NotFound
from dynamod.drivers.kubernetes.cluster import Cluster
from dynamod.drivers.kubernetes.errors import ClusterRefused, ClusterUnreachable, one_error
from dynamod.drivers.kubernetes.naming import GRAPH, PROJECT, REVISION, SERVICE
from dynamod.drivers.kubernetes.pod_status import replica_of, verdict
from dynamod.drivers.kubernetes.workloads import Object
from dynamod.schema.graphs import Replica
from dynamod.schema.states import GraphState, Reason

POLL_S = 0.5
_WORKLOADS = ("Deployment", "StatefulSet")


class ServiceOnCluster(msgspec.Struct, frozen=True, kw_only=True):
    """`desired` replicas are wanted, `ready` of them serve what was applied last."""

    name: str
    desired: int
    ready: int
    settled: bool


class GraphOnCluster(msgspec.Struct, frozen=True, kw_only=True):
    """A graph as the cluster has it."""

    state: GraphState
    reason: Reason
    message: str
    services: list[ServiceOnCluster]
    replicas: list[Replica]


class NotReady(EngineError):
    """The graph did not become ready in time. `reason` is that of the replica that stands in the way."""

    type = "not-ready"

    def __init__(self, seconds: float, found: GraphOnCluster) -> None:
        super().__init__(
            f"not ready after {seconds:g} s: {found.message.rstrip('.')}",
            remedy="it goes on by itself once that is mended",
        )
        self.reason = found.reason
        self.found = found


async def look(cluster: Cluster, selector: Mapping[str, str]) -> GraphOnCluster:
    """How the graph fares now.

    Raises:
        NotFound: nothing on the cluster has its labels.
        AccessForbidden, ClusterRefused, ClusterUnreachable: as they say.
    """
    with one_error():
        async with asyncio.TaskGroup() as group:
            objects, pods = (
                group.create_task(cluster.objects(selector, kinds=_WORKLOADS)),
                group.create_task(cluster.pods(selector)),
            )
    workloads = [o for o in objects.result().values() if SERVICE in o["metadata"]["labels"]]
    if not workloads:
        raise NotFound("graph", f"{selector[PROJECT]}/{selector[GRAPH]}", remedy="apply it first")
    services = sorted((service_of(one) for one in workloads), key=lambda s: s.name)
    revisions = {o["metadata"]["labels"][SERVICE]: o["metadata"]["labels"].get(REVISION, "0") for o in workloads}
    replicas = [
        replica_of(pod, revision=int(revisions.get(pod["metadata"]["labels"].get(SERVICE, ""), "0")))
        for pod in pods.result()
        if SERVICE in pod["metadata"].get("labels", {})
    ]
    return _summary(services, replicas)


async def settle(
    cluster: Cluster, selector: Mapping[str, str], *, timeout: float, changed: Callable[[Replica], None]
) -> GraphOnCluster:
    """Wait until every service has its replicas, all of them ready; `changed` is told of each replica's changes.

    An API server that goes away meanwhile is waited for.

    Raises:
        NotReady: not within `timeout` seconds; it has the reason.
        NotFound, AccessForbidden, ClusterRefused: as `look`.
        ClusterUnreachable: it did not come back in time.
    """
    told: dict[str, tuple[str, ...]] = {}
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        late = asyncio.get_running_loop().time() >= deadline
        try:
            found = await look(cluster, selector)
        except ClusterUnreachable:
            if late:
                raise
            found = None
        if found is not None:
            for replica in found.replicas:
                now = (replica.state, replica.reason, replica.message)
                if told.get(replica.id) != now:
                    told[replica.id] = now
                    changed(replica)
            if found.state in (GraphState.READY, GraphState.STOPPED):
                return found
            if late:
                raise NotReady(timeout, found)
        await asyncio.sleep(POLL_S)


async def remove(cluster: Cluster, selector: Mapping[str, str], *, timeout: float) -> list[str]:
    """Delete the graph and wait until the last of its containers has ended; what was deleted.

    The pods go a little later, once their nodes have cleaned up.

    Raises:
        NotReady: pods are still there after `timeout` seconds.
        AccessForbidden, ClusterRefused, ClusterUnreachable: as they say.
    """
    deleted = await cluster.delete(selector)
    deadline = asyncio.get_running_loop().time() + timeout
    while pods := [pod for pod in await cluster.pods(selector) if verdict(pod).state.holds_process]:
        if asyncio.get_running_loop().time() >= deadline:
            raise NotReady(timeout, _summary([], [replica_of(pod) for pod in pods]))
        await asyncio.sleep(POLL_S)
    return deleted


async def print_logs(
    cluster: Cluster,
    selector: Mapping[str, str],
    line: Callable[[str, str], None],
    *,
    follow: bool = False,
    tail: int | None = None,
) -> None:
    """Tell `line` of each replica and line, the time in front.

    Following is bound to the labels and goes on until it is cancelled: what starts later is followed as well, and each
    start of a container once, since a restarted one has a log of its own.

    Raises:
        AccessForbidden, ClusterRefused, ClusterUnreachable: as they say.
    """
    if not follow:
        for pod in await cluster.pods(selector):
            await _print_log(cluster, pod["metadata"]["name"], line, follow=False, tail=tail)
        return
    seen: set[tuple[str, str]] = set()
    with one_error():
        async with asyncio.TaskGroup() as group:
            while True:
                for pod in await cluster.pods(selector):
                    replica = replica_of(pod)
                    start = (replica.id, replica.container or "")
                    if replica.container and replica.started_at and start not in seen:
                        seen.add(start)
                        group.create_task(_print_log(cluster, replica.id, line, follow=True, tail=tail))
                await asyncio.sleep(POLL_S)


async def _print_log(
    cluster: Cluster, replica: str, line: Callable[[str, str], None], *, follow: bool, tail: int | None
) -> None:
    try:
        async for text in cluster.logs(replica, follow=follow, tail=tail):
            line(replica, text)
    except ClusterRefused:
        return  # the pod went between the look and the request, or its container has not started


def service_of(workload: Object) -> ServiceOnCluster:
    """How a Deployment or StatefulSet fares: of a service, or of a server of the graph's own."""
    about, wanted, status = workload["metadata"], workload["spec"], workload.get("status", {})
    desired = wanted.get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= about.get("generation", 0)
    updated = status.get("updatedReplicas", 0)
    ready = min(status.get("readyReplicas", 0), updated) if seen else 0
    # An old replica that still drains is no obstacle; one that still serves is.
    old = status.get("replicas", 0) - updated
    return ServiceOnCluster(
        name=about["labels"].get(SERVICE) or about["name"],
        desired=desired,
        ready=ready,
        settled=seen and ready >= desired and old <= 0,
    )


def _summary(services: list[ServiceOnCluster], replicas: list[Replica]) -> GraphOnCluster:
    waiting = [s for s in services if not s.settled]
    blocking = next((r for r in replicas if r.state.value not in ("ready", "starting", "stopping")), None)
    if services and not waiting:
        stopped = all(s.desired == 0 for s in services)
        state = GraphState.STOPPED if stopped else GraphState.READY
        reason, message = (Reason.SCALED_DOWN, "") if stopped else (Reason.ALL_READY, "")
    else:
        state = GraphState.DEPLOYING
        reason = blocking.reason if blocking else Reason.REPLICAS_UNREADY
        counts = ", ".join(f"{s.name} {s.ready}/{s.desired}" for s in waiting) or f"{len(replicas)} replicas left"
        message = f"{counts}: {blocking.id}: {blocking.reason.value}: {blocking.message}" if blocking else counts
    return GraphOnCluster(
        state=state, reason=reason, message=message.rstrip(": "), services=services, replicas=replicas
    )
