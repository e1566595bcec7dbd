"""What is seen of a graph that something else schedules, as records and as a state."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from dynamod.core.delegation import Trouble, records_of, summarise_delegated
from dynamod.core.records import Goal, GraphRecord, ReplicaRecord
from dynamod.schema import ExitInfo, GraphState, Reason, Replica, ReplicaState

NOW = 1_000_000.0
THEN = datetime.fromtimestamp(NOW - 60, UTC)
GRAPH = GraphRecord(
    id="g", project="default", name="demo", driver="kubernetes", revision=2, stable=2, created_at=NOW, updated_at=NOW
)


def seen(name: str, service: str = "Worker", state: ReplicaState = ReplicaState.READY, **said: object) -> Replica:
    fields = {"reason": Reason.PROBE_SUCCEEDED, "created_at": THEN, "updated_at": THEN} | said
    return Replica(
        id=name, project="", graph="", service=service, index=0, revision=0, driver="kubernetes", state=state, **fields
    )  # type: ignore[arg-type]


def told(known: list[ReplicaRecord], *replicas: Replica, leaving: tuple[str, ...] = ()) -> list[ReplicaRecord]:
    return records_of(GRAPH, known, replicas, frozenset(leaving), NOW)


def test_replicas_keep_their_numbers_and_new_ones_take_free_ones() -> None:
    first = told([], seen("a"), seen("b"), seen("c", "Router"))
    assert [(r.id, r.index) for r in first] == [("a", 1), ("b", 2), ("c", 1)]
    after = told(first, seen("d"), seen("b"))
    assert {r.id: r.index for r in after} == {"d": 1, "b": 2}
    assert {r.revision for r in after} == {2}


def test_what_has_not_changed_is_the_same_record() -> None:
    (first,) = told([], seen("a"))
    (again,) = records_of(GRAPH, [first], [seen("a")], frozenset(), NOW + 5)
    assert again is first


def test_restarts_are_counted_and_dated() -> None:
    end = ExitInfo(signal="SIGKILL", at=THEN, reason=Reason.KILLED_BY_SIGNAL)
    (record,) = told([], seen("a", restarts=2, last_exit=end))
    assert (record.run, record.failures) == (3, (THEN.timestamp(),) * 2)
    (more,) = told([record], seen("a", restarts=3))
    assert more.failures == (*record.failures, NOW)
    assert more.last_exit == end


def test_what_leaves_does_not_count() -> None:
    records = told([], seen("a"), seen("b", state=ReplicaState.STOPPING), leaving=("b",))
    state = summarise_delegated(GRAPH, records, 1, settled=True, overdue=False, trouble=None)
    assert state == (GraphState.READY, Reason.ALL_READY, "")
    assert records[1].doom is not None


def test_the_replica_in_the_way_says_why() -> None:
    waits = seen("b", state=ReplicaState.PENDING, reason=Reason.IMAGE_UNAVAILABLE, message="no such image")
    records = told([], seen("a"), waits)
    was_ready = summarise_delegated(GRAPH, records, 2, settled=False, overdue=False, trouble=None)
    words = "1 of 2 replicas are ready; b: no such image"
    assert was_ready == (GraphState.DEGRADED, Reason.IMAGE_UNAVAILABLE, words)
    rolling = summarise_delegated(replace(GRAPH, stable=1), records, 2, settled=False, overdue=False, trouble=None)
    assert rolling[0] is GraphState.DEPLOYING
    late = summarise_delegated(GRAPH, records, 2, settled=False, overdue=True, trouble=None)
    assert late == (GraphState.FAILED, Reason.IMAGE_UNAVAILABLE, words)


@pytest.mark.parametrize(
    ("needs_change", "stable", "goal", "state"),
    [
        (True, 2, Goal.RUN, GraphState.FAILED),
        (False, 2, Goal.RUN, GraphState.DEGRADED),
        (False, 0, Goal.RUN, GraphState.DEPLOYING),
        (False, 2, Goal.REMOVE, GraphState.STOPPING),
    ],
)
def test_trouble_is_told_over_the_last_picture(needs_change: bool, stable: int, goal: Goal, state: GraphState) -> None:
    trouble = Trouble(Reason.BACKEND_UNREACHABLE, "nobody answers", needs_change)
    graph = replace(GRAPH, stable=stable, goal=goal)
    found = summarise_delegated(graph, told([], seen("a")), 1, settled=True, overdue=False, trouble=trouble)
    assert found == (state, Reason.BACKEND_UNREACHABLE, "nobody answers")


def test_a_graph_has_stopped_once_nothing_runs() -> None:
    graph = replace(GRAPH, goal=Goal.STOP)
    runs = told([], seen("a"), leaving=("a",))
    assert summarise_delegated(graph, runs, 1, settled=True, overdue=False, trouble=None)[0] is GraphState.STOPPING
    ended = told([], seen("a", state=ReplicaState.EXITED), leaving=("a",))
    assert summarise_delegated(graph, ended, 1, settled=True, overdue=False, trouble=None)[0] is GraphState.STOPPED
