"""Objects of the wire model for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dynamod.schema.daemon import DaemonInfo
from dynamod.schema.events import Event
from dynamod.schema.graphs import Edge, Graph, Replica, ServiceStatus
from dynamod.schema.states import Action, GraphState, Reason, ReplicaState

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def graph(name: str = "hello", **changes: Any) -> Graph:
    fields: dict[str, Any] = {
        "id": "g1",
        "project": "default",
        "name": name,
        "driver": "process",
        "state": GraphState.READY,
        "reason": Reason.ALL_READY,
        "revision": 1,
        "digest": "d" * 64,
        "entry": "Frontend",
        "services": [
            ServiceStatus(
                name="Frontend",
                component="Frontend",
                namespace="default",
                desired=1,
                ready=1,
                total=1,
                endpoints=["generate"],
                dependencies=[Edge(attribute="middle", service="Middle")],
                address="http://127.0.0.1:8000",
            ),
            ServiceStatus(name="Middle", component="Middle", namespace="default", desired=2, ready=1, total=2),
        ],
        "created_at": AT,
        "updated_at": AT,
        "etag": '"1"',
    }
    return Graph(**(fields | changes))


def replica(identity: str = "hello-frontend-1", **changes: Any) -> Replica:
    fields: dict[str, Any] = {
        "id": identity,
        "project": "default",
        "graph": "hello",
        "service": "Frontend",
        "index": 1,
        "revision": 1,
        "driver": "process",
        "state": ReplicaState.READY,
        "reason": Reason.PROBE_SUCCEEDED,
        "pid": 4242,
        "host": "box",
        "created_at": AT,
        "updated_at": AT,
    }
    return Replica(**(fields | changes))


def event(seq: int, **changes: Any) -> Event:
    fields: dict[str, Any] = {"seq": seq, "at": AT, "actor": "engine", "action": Action.REPLICA_STATE, "graph": "hello"}
    return Event(**(fields | changes))


def info(**changes: Any) -> DaemonInfo:
    fields: dict[str, Any] = {"version": "0.1.0", "pid": 77, "started_at": AT, "state_dir": "/state", "last_seq": 41}
    return DaemonInfo(**(fields | changes))
