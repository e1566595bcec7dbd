"""Every live stream of the REST API as a typed function that returns a `StreamCall`."""

from __future__ import annotations

import msgspec

from dynamo_tui.client.calls import DEFAULT_PROJECT
from dynamo_tui.client.exchange import Query, StreamCall, path_part
from dynamod.schema.builds import BuiltImage, ContainerizeRequest, ImageStep
from dynamod.schema.events import Event
from dynamod.schema.observations import Gpu, KvDecision, KvSnapshot, LogGap, LogLine, ServiceRates


def events(
    *,
    after: int | None = None,
    project: str | None = None,
    graph: str | None = None,
    service: str | None = None,
    replica: str | None = None,
) -> StreamCall[Event]:
    """Events as they happen, those above `after` first. Ids are sequence numbers, so following resumes gaplessly."""
    query: Query = {"after": after, "project": project, "graph": graph, "service": service, "replica": replica}
    return StreamCall("/v1/events/stream", {"event": Event, "message": Event}, query)


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
    project: str = DEFAULT_PROJECT,
) -> StreamCall[LogLine | LogGap]:
    """Log lines as they are written, the last `tail` first; a `LogGap` stands where lines were skipped."""
    query: Query = {
        "project": project,
        "service": service,
        "replica": replica,
        "tail": tail,
        "since": since,
        "until": until,
        "regex": regex,
        "level": level,
    }
    return StreamCall(f"/v1/graphs/{path_part(graph)}/logs/stream", {"line": LogLine, "gap": LogGap}, query)


def lines_as_sent(call: StreamCall[LogLine | LogGap]) -> StreamCall[LogLine | LogGap | bytes]:
    """The same log, its lines left in JSON: who holds tens of thousands and shows fifty decodes the fifty."""
    return StreamCall(call.path, {**call.types, "line": bytes}, call.query)


def rates(graph: str, *, project: str = DEFAULT_PROJECT) -> StreamCall[list[ServiceRates]]:
    """What each service does, whenever it changes, at most once a second."""
    types = {"rates": list[ServiceRates], "message": list[ServiceRates]}
    return StreamCall(f"/v1/graphs/{path_part(graph)}/rates/stream", types, {"project": project})


def kv(
    graph: str, *, window: float | None = None, project: str = DEFAULT_PROJECT
) -> StreamCall[KvSnapshot | KvDecision]:
    """A snapshot at most once a second while it changes, and every decision as it is made."""
    types = {"snapshot": KvSnapshot, "decision": KvDecision}
    return StreamCall(f"/v1/graphs/{path_part(graph)}/kv/stream", types, {"project": project, "window": window})


def containerize(build: str, request: ContainerizeRequest) -> StreamCall[ImageStep | BuiltImage]:
    """Make the image of a build that the daemon keeps: its steps, then the image. Leaving the stream ends the work."""
    types = {"step": ImageStep, "image": BuiltImage}
    path = f"/v1/builds/{path_part(build)}/containerize"
    return StreamCall(path, types, body=msgspec.json.encode(request))


def gpus() -> StreamCall[list[Gpu]]:
    return StreamCall("/v1/gpus/stream", {"gpus": list[Gpu], "message": list[Gpu]})
