"""What is printed: tables for people, JSON and names for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from dynamod.schema.graphs import ExitInfo, Page, Revision, Why
from dynamod.schema.states import Action, Reason, ReplicaState
from tests.unit.dynamo_tui import sample
from tests.unit.dynamo_tui.cli.conftest import Dynamoctl
from tests.unit.dynamo_tui.standin import Asked, Reply, StandIn

BROKEN = sample.replica(
    "hello-middle-1",
    service="Middle",
    state=ReplicaState.PENDING,
    reason=Reason.BACKING_OFF,
    message="exited with code 1",
    pid=None,
    restarts=3,
    next_retry_at=datetime.now(UTC) + timedelta(seconds=30),
    last_exit=ExitInfo(code=1),
)


def test_graphs(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.answer("GET /v1/graphs", Page(items=[sample.graph(), sample.graph("llm")]))
    table = dynamoctl("graphs")
    assert table.code == 0
    assert table.stdout.splitlines()[0].split()[:4] == ["GRAPH", "STATE", "REASON", "READY"]
    assert table.stdout.splitlines()[1].split()[:4] == ["hello", "ready", "all_ready", "2/3"]
    assert dynamoctl("graphs", "-o", "name").stdout == "hello\nllm\n"
    assert [g["name"] for g in dynamoctl("graphs", "--json").json()] == ["hello", "llm"]


def test_lists_are_fetched_page_by_page_in_the_chosen_project(dynamoctl: Dynamoctl, local: StandIn) -> None:
    def pages(asked: Asked) -> Reply:
        last = "after=p2" in asked.target
        page = Page(items=[sample.replica("b" if last else "a")], next=None if last else "p2")
        return Reply(body=msgspec.json.encode(page))

    local.routes["GET /v1/graphs/hello/replicas"] = pages
    outcome = dynamoctl("ps", "hello", "--service", "Middle", "--project", "team", "-o", "name")
    assert outcome.stdout == "a\nb\n"
    assert all("project=team" in a.target and "service=Middle" in a.target for a in local.asked)


def test_ps_says_pid_state_reason_and_when_it_is_tried_again(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.answer("GET /v1/replicas", Page(items=[sample.replica(), BROKEN]))
    lines = dynamoctl("ps").stdout.splitlines()
    assert lines[1].split()[:6] == ["hello-frontend-1", "hello", "Frontend", "ready", "probe_succeeded", "4242"]
    assert "backing_off" in lines[2]
    assert "exited with code 1; retry in " in lines[2]
    assert "code 1" in dynamoctl("ps", "-o", "wide").stdout.splitlines()[2].split("  ")[-1]
    first = dynamoctl("ps", "--json").json()[0]
    assert (first["pid"], first["state"], first["reason"]) == (4242, "ready", "probe_succeeded")


def test_nothing_there_is_said_on_stderr_and_leaves_stdout_empty(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.answer("GET /v1/graphs", Page(items=[]))
    outcome = dynamoctl("graphs")
    assert outcome.code == 0
    assert outcome.stdout == ""
    assert "dynamoctl submit" in outcome.stderr
    assert dynamoctl("graphs", "--json").json() == []


@pytest.mark.parametrize("as_json", [False, True])
def test_watching_prints_each_replica_that_changes(dynamoctl: Dynamoctl, local: StandIn, as_json: bool) -> None:
    gone = msgspec.to_builtins(sample.replica("hello-backend-1", service="Backend", state=ReplicaState.EXITED))
    events = [
        sample.event(42, action=Action.GRAPH_STATE, data=msgspec.to_builtins(sample.graph())),
        sample.event(43, data=gone),
    ]

    def stream(asked: Asked) -> Reply:
        if "Last-Event-ID" in asked.headers:  # everything was shown: end the watch
            return Reply(410, b'{"type":"gone","title":"that is all","status":410}')
        chunks = [b"id: %d\nevent: event\ndata: %s\n\n" % (e.seq, msgspec.json.encode(e)) for e in events]
        return Reply(chunks=chunks)

    local.answer("GET /v1/replicas", Page(items=[sample.replica()]))
    local.routes["GET /v1/events/stream"] = stream
    outcome = dynamoctl("ps", "-w", *(["--json"] if as_json else []))
    lines = outcome.stdout.splitlines()[0 if as_json else 1 :]
    assert len(lines) == 2
    assert "hello-frontend-1" in lines[0]
    assert "hello-backend-1" in lines[1]
    assert outcome.stderr == ("the daemon ended the stream /v1/events/stream; trying again\nerror: that is all\n"), (
        "an outage is told, and so is the end"
    )
    assert "after=41" in next(a.target for a in local.asked if "/events/stream" in a.target), (
        "gapless from the snapshot"
    )


def test_describe_a_graph_and_a_replica(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.answer("GET /v1/graphs/hello", sample.graph())
    local.answer("GET /v1/graphs/hello/replicas", Page(items=[sample.replica()]))
    local.answer("GET /v1/events", Page(items=[sample.event(41, message="it is ready")]))
    text = dynamoctl("describe", "hello").stdout
    for part in ("Graph:", "http://127.0.0.1:8000", "Middle", "hello-frontend-1", "it is ready"):
        assert part in text
    assert set(dynamoctl("describe", "hello", "--json").json()) == {"graph", "replicas", "events"}
    local.answer("GET /v1/replicas", Page(items=[sample.replica(), BROKEN]))
    assert "Next retry:" in dynamoctl("describe", "hello-mid").stdout
    unknown = dynamoctl("describe", "nope")
    assert unknown.code == 3


def test_why_finds_a_replica_by_the_names_that_people_use(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.answer("GET /v1/replicas", Page(items=[sample.replica(), BROKEN]))
    why = Why(
        replica=BROKEN,
        summary="its process exited with code 1, three times within a minute",
        waiting_for=["the next retry"],
        log_tail=["Traceback", "ValueError: no weights"],
        events=[msgspec.to_builtins(sample.event(7, reason=Reason.EXITED_WITH_ERROR))],
    )
    local.answer("GET /v1/replicas/hello-middle-1/why", why)
    for name in ("hello-middle-1", "hello-mid", "Middle", "Middle/1", "hello/Middle/1"):
        text = dynamoctl("why", name).stdout
        assert "three times within a minute" in text
        assert "Next retry:" in text
        assert "  ValueError: no weights" in text
        assert "exited_with_error" in text
    assert dynamoctl("why", "hello").stderr.startswith("error: 'hello' may be any of hello-frontend-1, hello-middle-1")
    assert dynamoctl("why", "zzz").code == 3


def test_revisions(dynamoctl: Dynamoctl, local: StandIn) -> None:
    rows = [Revision(number=n, digest="d" * 64, created_at=sample.AT, cause="submitted", active=n == 2) for n in (1, 2)]
    local.answer("GET /v1/graphs/hello/revisions", Page(items=rows))
    lines = dynamoctl("rollout", "history", "hello").stdout.splitlines()
    assert lines[2].split()[:2] == ["2", "yes"]
