"""Every request of the REST API as a typed function that returns a `Call`. Streams are in `streams`.

Functions take what the route takes; `project` defaults to `default`. Times (`since`, `until`) are seconds
since the epoch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeVar

import msgspec

from dynamo_tui.client.exchange import Call, Query, path_part
from dynamod.schema.builds import Build, Pruned, PruneRequest
from dynamod.schema.daemon import DaemonInfo
from dynamod.schema.events import Event
from dynamod.schema.graphs import (
    DrainRequest,
    Graph,
    GraphChange,
    GraphSubmit,
    Page,
    Plan,
    PlanRequest,
    Replica,
    RestartRequest,
    Revision,
    RollbackRequest,
    ScaleRequest,
    StopRequest,
    Why,
)
from dynamod.schema.observations import Gpu, KvSnapshot, LogLine, Series, ServiceRates

DEFAULT_PROJECT = "default"
TRANSFER_TIMEOUT_S = 600.0
ENVIRONMENT_TIMEOUT_S = 1900.0
"""A submission of a build answers once its environment is there, which takes as long as installing its packages."""
ALL_PROJECTS = "*"
T = TypeVar("T")


def health() -> Call[None]:
    """Answers as soon as the daemon serves."""
    return Call("GET", "/healthz", None)


def info() -> Call[DaemonInfo]:
    return Call("GET", "/v1/info", DaemonInfo)


def daemon_metrics() -> Call[str]:
    """The daemon's own metrics, Prometheus text."""
    return Call("GET", "/metrics", str)


def shutdown(*, stop_graphs: bool = False) -> Call[None]:
    """Ask the daemon to end. Replicas go on running unless `stop_graphs`."""
    return Call("POST", "/v1/shutdown", None, query={"stop_graphs": stop_graphs})


def graphs(
    *, project: str | None = DEFAULT_PROJECT, after: str | None = None, limit: int | None = None
) -> Call[Page[Graph]]:
    """Graphs of a project, or with None of all projects."""
    query: Query = {"project": project or ALL_PROJECTS, "after": after, "limit": limit}
    return Call("GET", "/v1/graphs", Page[Graph], query=query)


def graph(name: str, *, project: str = DEFAULT_PROJECT) -> Call[Graph]:
    return Call("GET", f"/v1/graphs/{path_part(name)}", Graph, query={"project": project})


def submit(request: GraphSubmit) -> Call[Graph]:
    """Create a graph or a new revision of it. Status 201 says created, 200 that it was there or updated."""
    return _patient(_post("/v1/graphs", Graph, request, {"project": request.project}), request)


def remove(name: str, *, project: str = DEFAULT_PROJECT) -> Call[None]:
    return Call("DELETE", f"/v1/graphs/{path_part(name)}", None, query={"project": project})


def stop(name: str, *, timeout: float | None = None, project: str = DEFAULT_PROJECT) -> Call[Graph]:
    """Drain and stop every replica; the graph stays known. `timeout`: seconds to drain, None for each service's own."""
    return _post(f"/v1/graphs/{path_part(name)}/stop", Graph, StopRequest(timeout=timeout), {"project": project})


def start(name: str, *, project: str = DEFAULT_PROJECT) -> Call[Graph]:
    return _post(f"/v1/graphs/{path_part(name)}/start", Graph, None, {"project": project})


def restart(
    name: str, *, service: str | None = None, replica: str | None = None, project: str = DEFAULT_PROJECT
) -> Call[Graph]:
    """Restart the whole graph, one service, or one replica."""
    body = RestartRequest(service=service, replica=replica)
    return _post(f"/v1/graphs/{path_part(name)}/restart", Graph, body, {"project": project})


def drain(
    name: str,
    *,
    service: str | None = None,
    replica: str | None = None,
    timeout: float | None = None,
    project: str = DEFAULT_PROJECT,
) -> Call[Graph]:
    """Let one replica, or all of a service, finish what they have begun and be replaced by fresh ones."""
    body = DrainRequest(service=service, replica=replica, timeout=timeout)
    return _post(f"/v1/graphs/{path_part(name)}/drain", Graph, body, {"project": project})


def rollback(name: str, *, to: int | None = None, project: str = DEFAULT_PROJECT) -> Call[Graph]:
    """Back to revision `to`, or to the one before the current."""
    return _post(f"/v1/graphs/{path_part(name)}/rollback", Graph, RollbackRequest(to=to), {"project": project})


def scale(
    name: str, service: str, replicas: int, *, project: str = DEFAULT_PROJECT, if_match: str | None = None
) -> Call[Graph]:
    """`if_match`: the etag of the graph as the caller saw it; another state then answers Conflict."""
    call = _post(
        f"/v1/graphs/{path_part(name)}/services/{path_part(service)}/scale",
        Graph,
        ScaleRequest(replicas=replicas),
        {"project": project},
    )
    if if_match is None:
        return call
    return Call(call.method, call.path, call.result, query=call.query, body=call.body, headers={"If-Match": if_match})


def revisions(
    name: str, *, project: str = DEFAULT_PROJECT, after: str | None = None, limit: int | None = None
) -> Call[Page[Revision]]:
    query: Query = {"project": project, "after": after, "limit": limit}
    return Call("GET", f"/v1/graphs/{path_part(name)}/revisions", Page[Revision], query=query)


def revision(name: str, number: int, *, project: str = DEFAULT_PROJECT) -> Call[Revision]:
    return Call("GET", f"/v1/graphs/{path_part(name)}/revisions/{number}", Revision, query={"project": project})


def replicas(
    *,
    graph: str | None = None,
    service: str | None = None,
    project: str | None = DEFAULT_PROJECT,
    after: str | None = None,
    limit: int | None = None,
) -> Call[Page[Replica]]:
    """Replicas of one graph, or of all (with `project` None, of all projects); `service` narrows them."""
    query: Query = {"project": project or ALL_PROJECTS, "service": service, "after": after, "limit": limit}
    path = "/v1/replicas" if graph is None else f"/v1/graphs/{path_part(graph)}/replicas"
    return Call("GET", path, Page[Replica], query=query)


def replica(replica_id: str) -> Call[Replica]:
    return Call("GET", f"/v1/replicas/{path_part(replica_id)}", Replica)


def why(replica_id: str) -> Call[Why]:
    """Everything that explains one replica."""
    return Call("GET", f"/v1/replicas/{path_part(replica_id)}/why", Why)


def plan(request: GraphSubmit) -> Call[Plan]:
    """What a submit would do; nothing is changed."""
    return _patient(_post("/v1/plans", Plan, PlanRequest(submit=request), {"project": request.project}), request)


def plan_change(change: GraphChange) -> Call[Plan]:
    """What a change of a graph that is there would do; nothing is changed."""
    return _post("/v1/plans", Plan, PlanRequest(change=change), {"project": change.project})


def get_plan(plan_id: str) -> Call[Plan]:
    return Call("GET", f"/v1/plans/{path_part(plan_id)}", Plan)


def apply_plan(plan_id: str) -> Call[Graph]:
    """Carry out a plan; Conflict when the world has changed since it was made."""
    return _post(f"/v1/plans/{path_part(plan_id)}/apply", Graph, None, {})


def builds(*, after: str | None = None, limit: int | None = None) -> Call[Page[Build]]:
    return Call("GET", "/v1/builds", Page[Build], query={"after": after, "limit": limit})


def build(reference: str) -> Call[Build]:
    """The build of a tag (`name:version`, or `name` for its newest), or of a digest's beginning."""
    return Call("GET", f"/v1/builds/{path_part(reference)}", Build)


def remove_build(reference: str) -> Call[None]:
    """Forget a tag; Conflict when a graph needs the build."""
    return Call("DELETE", f"/v1/builds/{path_part(reference)}", None)


def prune_builds(wanted: PruneRequest) -> Call[Pruned]:
    """Forget builds that nothing uses."""
    return Call("POST", "/v1/builds/prune", Pruned, body=msgspec.json.encode(wanted))


def upload_build(*, sha256: str | None = None, force: bool = False) -> Call[Build]:
    """Keep an archive: give its file to `Client.upload`. Status 201 says kept, 200 that it was there."""
    headers = {"Content-Type": "application/gzip"}
    query: Query = {"sha256": sha256, "force": force or None}
    return Call("POST", "/v1/builds", Build, query=query, headers=headers, timeout=TRANSFER_TIMEOUT_S)


def build_archive(reference: str) -> Call[None]:
    """The archive itself: give a file to write it to to `Client.download`."""
    return Call("GET", f"/v1/builds/{path_part(reference)}/archive", None, timeout=TRANSFER_TIMEOUT_S)


def events(
    *,
    after: int | None = None,
    limit: int | None = None,
    project: str | None = None,
    graph: str | None = None,
    service: str | None = None,
    replica: str | None = None,
) -> Call[Page[Event]]:
    """Events with a sequence number above `after`, oldest first."""
    query: Query = {
        "after": after,
        "limit": limit,
        "project": project,
        "graph": graph,
        "service": service,
        "replica": replica,
    }
    return Call("GET", "/v1/events", Page[Event], query=query)


def logs(
    graph: str,
    *,
    service: str | None = None,
    replica: str | None = None,
    tail: int | None = None,
    since: float | None = None,
    until: float | None = None,
    regex: str | None = None,
    level: str | None = None,
    after: str | None = None,
    limit: int | None = None,
    project: str = DEFAULT_PROJECT,
) -> Call[Page[LogLine]]:
    """Log lines of a graph, merged by time. `level` keeps that level and above.

    With `since` pages lead from there to the newest line; with `tail`, or without both, the newest lines come
    first and `next` leads to older ones.
    """
    query: Query = {
        "project": project,
        "service": service,
        "replica": replica,
        "tail": tail,
        "since": since,
        "until": until,
        "regex": regex,
        "level": level,
        "after": after,
        "limit": limit,
    }
    return Call("GET", f"/v1/graphs/{path_part(graph)}/logs", Page[LogLine], query=query)


def metrics(
    graph: str,
    name: str,
    *,
    service: str | None = None,
    replica: str | None = None,
    since: float | None = None,
    until: float | None = None,
    step: float | None = None,
    by: Literal["replica", "service"] | None = None,
    project: str = DEFAULT_PROJECT,
) -> Call[list[Series]]:
    """One metric over time. `step`: seconds between points; `by`: a series of each replica (the default) or service."""
    query: Query = {
        "project": project,
        "name": name,
        "service": service,
        "replica": replica,
        "since": since,
        "until": until,
        "step": step,
        "by": by,
    }
    return Call("GET", f"/v1/graphs/{path_part(graph)}/metrics", list[Series], query=query)


def metric_names(graph: str, *, project: str = DEFAULT_PROJECT) -> Call[list[str]]:
    return Call("GET", f"/v1/graphs/{path_part(graph)}/metrics/names", list[str], query={"project": project})


def rates(graph: str, *, project: str = DEFAULT_PROJECT) -> Call[list[ServiceRates]]:
    """What each service and each replica does right now."""
    return Call("GET", f"/v1/graphs/{path_part(graph)}/rates", list[ServiceRates], query={"project": project})


def prometheus(graph: str, *, project: str = DEFAULT_PROJECT) -> Call[str]:
    """The latest samples of all replicas, Prometheus text."""
    return Call("GET", f"/v1/graphs/{path_part(graph)}/prometheus", str, query={"project": project})


def kv(
    graph: str, *, window: float | None = None, at: float | None = None, project: str = DEFAULT_PROJECT
) -> Call[KvSnapshot]:
    """KV routing over the last `window` seconds, or over those before `at` (seconds since the epoch)."""
    query: Query = {"project": project, "window": window, "at": at}
    return Call("GET", f"/v1/graphs/{path_part(graph)}/kv", KvSnapshot, query=query)


def kv_series(
    graph: str,
    *,
    since: float | None = None,
    until: float | None = None,
    step: float | None = None,
    worker: str | None = None,
    by: Literal["graph", "worker"] = "graph",
    project: str = DEFAULT_PROJECT,
) -> Call[list[Series]]:
    """Hit rates over time, overall, of one worker, or of each (`by="worker"`)."""
    query: Query = {"project": project, "since": since, "until": until, "step": step, "worker": worker, "by": by}
    return Call("GET", f"/v1/graphs/{path_part(graph)}/kv/series", list[Series], query=query)


def gpus() -> Call[list[Gpu]]:
    return Call("GET", "/v1/gpus", list[Gpu])


def _post(path: str, result: type[T], body: Any, query: Query) -> Call[T]:
    encoded = b"" if body is None else msgspec.json.encode(body)
    return Call("POST", path, result, query=query, body=encoded)


def _patient(call: Call[T], request: GraphSubmit) -> Call[T]:
    return call if request.build is None else replace(call, timeout=ENVIRONMENT_TIMEOUT_S)
