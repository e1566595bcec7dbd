"""What the event log tells of earlier states, and what it does not."""

from __future__ import annotations

import msgspec

from dynamo_tui.tui.state_history import StateHistory
from dynamod.schema import Action, Event, GraphState, Replica, ReplicaState
from tests.unit.dynamo_tui.tui import world

WORKER = next(r for r in world.REPLICAS if r.id == "agg_router-vllmworker-2")


def changed(seq: int, ago: float, one: Replica, state: ReplicaState) -> Event:
    now = msgspec.structs.replace(one, state=state)
    return Event(
        seq=seq,
        at=world.at(ago),
        actor="engine",
        action=Action.REPLICA_STATE,
        project=one.project,
        graph=one.graph,
        replica=one.id,
        data=msgspec.to_builtins(now),
    )


def claim(seq: int, ago: float, action: Action) -> Event:
    return Event(
        seq=seq,
        at=world.at(ago),
        actor="engine",
        action=action,
        project="default",
        graph="agg_router",
        replica=WORKER.id,
        data={"uuid": "GPU-1", "index": 1, "share": 0.5},
    )


def state_at(history: StateHistory, ago: float) -> ReplicaState | None:
    return next((r.state for r in history.replicas_at(world.NOW - ago) if r.id == WORKER.id), None)


def test_a_replica_is_in_the_state_of_its_last_event() -> None:
    history = StateHistory()
    history.add([changed(5, 200, WORKER, ReplicaState.READY), changed(6, 100, WORKER, ReplicaState.LOST)])
    history.know([], [WORKER], 9)
    assert state_at(history, 150) is ReplicaState.READY
    assert state_at(history, 100) is ReplicaState.LOST
    assert state_at(history, 0) is ReplicaState.LOST
    assert [history.seq_at(world.NOW - ago) for ago in (300, 150, 0)] == [4, 5, 6]


def test_what_has_no_event_is_unchanged_since_it_was_made() -> None:
    history = StateHistory()
    history.add([changed(5, 200, WORKER, ReplicaState.READY)])
    history.know(world.REPLICAS and [world.HELLO_GRAPH], [], 9)
    assert [g.state for g in history.graphs_at(world.NOW - 300)] == [GraphState.DEGRADED]
    assert history.graphs_at(world.NOW - 500) == []  # made 400 s ago


def test_what_was_there_before_its_first_event_is_unknown_not_guessed() -> None:
    history = StateHistory()
    history.add([changed(5, 200, WORKER, ReplicaState.READY)])
    history.know([], [WORKER], 9)
    assert state_at(history, 250) is None
    assert history.unknown_at(world.NOW - 250) == 1
    assert history.unknown_at(world.NOW - 150) == 0


def test_a_removed_graph_was_there_before() -> None:
    history = StateHistory()
    gone = Event(
        seq=7, at=world.at(50), actor="user:1", action=Action.GRAPH_REMOVED, project="default", graph="agg_router"
    )
    history.add([changed(5, 200, WORKER, ReplicaState.READY), gone])
    history.know([], [], 7)
    assert state_at(history, 60) is ReplicaState.READY
    assert state_at(history, 40) is None


def test_claims_follow_their_events() -> None:
    history = StateHistory()
    history.add([claim(5, 200, Action.GPU_CLAIMED), claim(6, 100, Action.GPU_RELEASED)])
    history.know([], [], 6, world.gpus()[:1])
    held = history.claims_at(world.NOW - 150)
    assert [(c.replica, c.share.share) for c in held["GPU-1"]] == [(WORKER.id, 0.5)]
    assert set(held) == {"GPU-0", "GPU-1"}  # the first has been claimed all along
    assert set(history.claims_at(world.NOW - 50)) == {"GPU-0"}
