from __future__ import annotations

import msgspec

from dynamo_tui.tui.store import GraphKey, Store, Topic
from dynamod.schema import Action, Event, ReplicaState
from tests.unit.dynamo_tui.tui import kv_world, world

ROUTER = GraphKey("default", "agg_router")


def filled() -> Store:
    store = Store()
    store.set_snapshot(world.INFO, [world.ROUTER_GRAPH, world.HELLO_GRAPH], world.REPLICAS, 100)
    store.take_changes()
    return store


def event(seq: int, action: Action, **more: object) -> Event:
    base = {"seq": seq, "at": world.at(0), "actor": "engine", "project": "default", "graph": "agg_router"}
    return Event(**{**base, "action": action, **more})  # type: ignore[arg-type]


def test_an_event_that_is_already_in_the_snapshot_changes_nothing() -> None:
    store = filled()
    store.apply(event(100, Action.GRAPH_REMOVED))
    assert ROUTER in store.graphs
    assert store.take_changes() == frozenset()


def test_an_event_replaces_the_object_that_it_carries() -> None:
    store = filled()
    worker = next(r for r in world.REPLICAS if r.service == "VllmWorker")
    lost = msgspec.structs.replace(worker, state=ReplicaState.LOST)
    store.apply(event(101, Action.REPLICA_STATE, replica=worker.id, data=msgspec.to_builtins(lost)))
    assert store.ready_count(ROUTER, "VllmWorker") == 3
    assert store.take_changes() == {Topic.EVENTS, Topic.REPLICAS}


def test_removals_take_everything_along() -> None:
    store = filled()
    store.apply_rates(ROUTER, world.rates(world.ROUTER_GRAPH), world.NOW)
    store.apply_kv_snapshot(ROUTER, kv_world.kv_snapshot())
    store.apply(event(101, Action.REPLICA_REMOVED, replica="agg_router-router-1"))
    assert store.replica(ROUTER, "agg_router-router-1") is None
    store.apply(event(102, Action.GRAPH_REMOVED))
    assert not any(ROUTER in held for held in (store.graphs, store.replicas, store.rates, store.kv))
    assert store.rate_tracks == {}


def test_an_event_of_a_newer_shape_is_kept_but_not_applied() -> None:
    store = filled()
    store.apply(event(101, Action.GRAPH_STATE, data={"entry": "Frontend", "shape": "new"}))
    assert store.events[-1].seq == 101
    assert store.graphs[ROUTER] == world.ROUTER_GRAPH


def test_decisions_are_kept_once_and_in_order() -> None:
    store = filled()
    store.apply_kv_decision(ROUTER, kv_world.decision(39, world.NOW))
    store.apply_kv_snapshot(ROUTER, kv_world.kv_snapshot(seq=40))
    store.apply_kv_decision(ROUTER, kv_world.decision(40, world.NOW))
    store.apply_kv_decision(ROUTER, kv_world.decision(41, world.NOW))
    assert [d.seq for d in store.kv_feed(ROUTER).decisions] == list(range(20, 42))


def test_history_goes_before_what_is_live() -> None:
    store = filled()
    store.apply_kv_snapshot(ROUTER, kv_world.kv_snapshot())
    store.merge_kv_history(ROUTER, kv_world.kv_series())
    points = list(store.kv_feed(ROUTER).predicted[""].points)
    assert len(points) == 121
    assert points == sorted(points, key=lambda p: p[0])


def test_past_events_do_not_move_the_picture() -> None:
    store = filled()
    store.add_past_events(world.events())
    assert [e.seq for e in store.events] == [91, 92, 93, 97, 98, 99, 100]
    assert ROUTER in store.graphs
