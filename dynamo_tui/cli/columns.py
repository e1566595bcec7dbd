"""The columns of every list."""

from __future__ import annotations

from datetime import UTC, datetime

from dynamo_tui.cli import quantities
from dynamo_tui.cli.output import Column
from dynamod.schema.events import Event
from dynamod.schema.graphs import Graph, Replica, Revision, ServiceStatus

GRAPHS: tuple[Column[Graph], ...] = (
    Column("GRAPH", lambda g: g.name),
    Column("STATE", lambda g: g.state.value),
    Column("REASON", lambda g: g.reason.value),
    Column("READY", lambda g: f"{sum(s.ready for s in g.services)}/{sum(s.desired for s in g.services)}"),
    Column("REVISION", lambda g: g.revision),
    Column("ADDRESS", lambda g: g.address),
    Column("AGE", lambda g: quantities.age(g.created_at)),
    Column("DRIVER", lambda g: g.driver, wide=True),
    Column("ENTRY", lambda g: g.entry, wide=True),
    Column("DIGEST", lambda g: g.digest[:12], wide=True),
    Column("MESSAGE", lambda g: g.message, wide=True),
)

SERVICES: tuple[Column[ServiceStatus], ...] = (
    Column("SERVICE", lambda s: s.name),
    Column("READY", lambda s: f"{s.ready}/{s.desired}"),
    Column("RESTARTS", lambda s: s.restarts),
    Column("GPU", lambda s: quantities.number(s.gpu, 2) if s.gpu else None),
    Column("ENDPOINTS", lambda s: ", ".join(s.endpoints)),
    Column("NEEDS", lambda s: ", ".join(e.service for e in s.dependencies)),
    Column("ADDRESS", lambda s: s.address),
)

REPLICAS: tuple[Column[Replica], ...] = (
    Column("REPLICA", lambda r: r.id),
    Column("GRAPH", lambda r: r.graph),
    Column("SERVICE", lambda r: r.service),
    Column("STATE", lambda r: r.state.value),
    Column("REASON", lambda r: r.reason.value),
    Column("PID", lambda r: r.pid or (r.container and r.container[:12])),
    Column("RESTARTS", lambda r: r.restarts),
    Column("GPUS", lambda r: _gpus(r)),
    Column("AGE", lambda r: quantities.age(r.started_at or r.created_at)),
    Column("DETAIL", lambda r: _detail(r)),
    Column("REVISION", lambda r: r.revision, wide=True),
    Column("HOST", lambda r: r.host, wide=True),
    Column("ADDRESS", lambda r: r.address, wide=True),
    Column("LAST EXIT", lambda r: last_exit(r), wide=True),
)

REVISIONS: tuple[Column[Revision], ...] = (
    Column("REVISION", lambda r: r.number),
    Column("ACTIVE", lambda r: "yes" if r.active else ""),
    Column("DIGEST", lambda r: r.digest[:12]),
    Column("AGE", lambda r: quantities.age(r.created_at)),
    Column("CAUSE", lambda r: r.cause),
    Column("BUILD", lambda r: r.build, wide=True),
)

EVENTS: tuple[Column[Event], ...] = (
    Column("SEQ", lambda e: e.seq, least=5),
    Column("TIME", lambda e: quantities.clock(e.at), least=23),
    Column("ACTION", lambda e: e.action.value, least=16),
    Column("ON", lambda e: event_target(e), least=24),
    Column("REASON", lambda e: e.reason.value if e.reason else None, least=17),
    Column("ACTOR", lambda e: e.actor, least=6),
    Column("MESSAGE", lambda e: e.message),
)


def event_target(event: Event) -> str:
    """What the event is about, the narrowest name it has."""
    if event.replica:
        return event.replica
    return "/".join(part for part in (event.graph, event.service) if part)


def last_exit(replica: Replica) -> str:
    """How the last process ended, in words."""
    end = replica.last_exit
    if end is None:
        return ""
    words = f"code {end.code}" if end.signal is None else f"signal {end.signal}"
    return f"{words}, out of memory" if end.oom_killed else words


def _gpus(replica: Replica) -> str:
    return ",".join(str(g.index) if g.share == 1 else f"{g.index}({g.share:g})" for g in replica.gpus)


def _detail(replica: Replica) -> str:
    if replica.next_retry_at is not None:
        wait = (replica.next_retry_at - datetime.now(UTC)).total_seconds()
        retry = f"retry in {max(0.0, wait):.0f}s"
        return f"{replica.message}; {retry}" if replica.message else retry
    return replica.progress or replica.message
