"""Commands that change something: what they ask for, and how they wait for it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from dynamod.schema.graphs import FieldChange, Page, Plan, PlanOperation, Replica
from dynamod.schema.states import GraphState, OperationKind, Reason, ReplicaState
from tests.unit.dynamo_tui import sample
from tests.unit.dynamo_tui.cli.conftest import Dynamoctl
from tests.unit.dynamo_tui.standin import Asked, Reply, StandIn


@pytest.mark.parametrize(
    ("arguments", "request_line", "body"),
    [
        (("restart", "hello"), "POST /v1/graphs/hello/restart?project=default", {"service": None, "replica": None}),
        (("restart", "hello", "--service", "Middle"), "POST /v1/graphs/hello/restart?project=default",
         {"service": "Middle", "replica": None}),
        (("drain", "hello", "--service", "Middle", "--drain", "1m"), "POST /v1/graphs/hello/drain?project=default",
         {"service": "Middle", "replica": None, "timeout": 60.0}),
        (("stop", "hello", "--drain", "1m"), "POST /v1/graphs/hello/stop?project=default", {"timeout": 60.0}),
        (("start", "hello", "--project", "p"), "POST /v1/graphs/hello/start?project=p", None),
        (("rollback", "hello", "--to", "3"), "POST /v1/graphs/hello/rollback?project=default", {"to": 3}),
    ],
)  # fmt: skip
def test_requests(
    dynamoctl: Dynamoctl, local: StandIn, arguments: tuple[str, ...], request_line: str, body: object
) -> None:
    path = request_line.partition("?")[0]
    local.answer(path, sample.graph(), status=202)
    outcome = dynamoctl(*arguments)
    assert outcome.code == 0, outcome.stderr
    asked = local.asked[-1]
    assert f"{asked.method} {asked.target}" == request_line
    assert (msgspec.json.decode(asked.body) if asked.body else None) == body


def test_scale_sets_several_services(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.answer("GET /v1/graphs/hello", sample.graph())
    for service in ("Middle", "Frontend"):
        local.answer(f"POST /v1/graphs/hello/services/{service}/scale", sample.graph())
    outcome = dynamoctl("scale", "hello", "Middle=2", "Frontend=1")
    assert outcome.stdout == "Frontend: 1/1 ready\nMiddle: 1/2 ready\n"
    assert [a.body for a in local.asked if a.method == "POST"] == [b'{"replicas":2}', b'{"replicas":1}']
    assert dynamoctl("scale", "hello", "Middle=two").stderr.startswith("error: 'Middle=two': write SERVICE=N")


def test_rm_waits_until_it_is_gone(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.answer("DELETE /v1/graphs/hello", b"", status=202)
    local.routes["GET /v1/events/stream"] = endless([])
    outcome = dynamoctl("rm", "hello", "--wait")
    assert outcome.code == 0
    assert outcome.stdout == "graph hello removed\n"


def endless(sequence: list[int]) -> Callable[[Asked], Reply]:
    return lambda _: Reply(
        chunks=[b"id: %d\nevent: event\ndata: %s\n\n" % (n, msgspec.json.encode(sample.event(n))) for n in sequence]
        + [b": still here\n\n"] * 2
    )


def scripted(local: StandIn, *states: tuple[GraphState, Reason]) -> None:
    """The graph is in the next state each time it is asked for, and stays in the last one."""
    queue = list(states)

    def graph(_: Asked) -> Reply:
        state, reason = queue.pop(0) if len(queue) > 1 else queue[0]
        message = "Middle failed" if state is GraphState.FAILED else ""
        services = sample.graph().services
        if state is GraphState.READY:
            services = [msgspec.structs.replace(s, ready=s.desired) for s in services]
        graph = sample.graph(state=state, reason=reason, message=message, services=services)
        return Reply(body=msgspec.json.encode(graph))

    local.routes["GET /v1/graphs/hello"] = graph
    starting = sample.replica(
        "hello-middle-1",
        service="Middle",
        state=ReplicaState.STARTING,
        reason=Reason.STARTING_UP,
        progress="weights 3/8",
    )
    local.answer("GET /v1/graphs/hello/replicas", Page[Replica](items=[starting]))
    local.routes["GET /v1/events/stream"] = endless([42, 43, 44])


def test_wait_follows_the_graph_and_prints_progress_as_lines_in_a_pipe(dynamoctl: Dynamoctl, local: StandIn) -> None:
    scripted(local, (GraphState.DEPLOYING, Reason.SUBMITTED), (GraphState.READY, Reason.ALL_READY))
    outcome = dynamoctl("wait", "hello")
    assert outcome.code == 0
    assert outcome.stdout == "graph hello: ready\n"
    assert outcome.stderr.splitlines() == [
        "Frontend: 1/1 ready",
        "Middle: 1/2 ready; starting (starting_up) weights 3/8",
        "Middle: 2/2 ready; starting (starting_up) weights 3/8",
    ]


def test_wait_gives_up_on_a_failed_graph_and_when_time_is_up(dynamoctl: Dynamoctl, local: StandIn) -> None:
    scripted(local, (GraphState.DEPLOYING, Reason.SUBMITTED), (GraphState.FAILED, Reason.RESTART_BUDGET_SPENT))
    failed = dynamoctl("wait", "hello")
    assert failed.code == 8
    assert failed.stderr.splitlines()[-1].startswith(
        "error: graph 'hello' failed: restart_budget_spent: Middle failed; look: `dynamoctl "
    )
    scripted(local, (GraphState.DEPLOYING, Reason.SUBMITTED))
    late = dynamoctl("wait", "hello", "--timeout", "300ms")
    assert late.code == 6
    assert "is not ready after 0.3 s: it is deploying (submitted)" in late.stderr


PLAN = Plan(
    id="p1",
    graph="hello",
    project="default",
    basis="b",
    strategy="surge",
    changes=[FieldChange(path="config.Middle.message", before="mid", after="center")],
    operations=[
        PlanOperation(kind=OperationKind.CREATE, service="Middle", index=2, cause="its configuration changes", wave=1)
    ],
)


def test_plan_shows_causes_and_answers_by_its_exit_code(
    dynamoctl: Dynamoctl, local: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dynamo.sdk.spec import GraphSpec, ServiceSpec
    from dynamo_tui.cli.targets import Source

    spec = GraphSpec(name="hello", target="m:C", entry="C", services=(ServiceSpec(name="C", target="m:C"),))
    monkeypatch.setattr(Source, "spec", lambda _: spec)
    local.answer("POST /v1/plans", PLAN)
    outcome = dynamoctl("plan", "m:C")
    assert outcome.code == 1
    assert 'config.Middle.message: "mid" -> "center"' in outcome.stdout
    assert "its configuration changes" in outcome.stdout
    assert outcome.stdout.endswith("carry it out: dynamoctl apply p1\n")
    local.answer("POST /v1/plans", msgspec.structs.replace(PLAN, changes=[], operations=[], strategy="none"))
    assert dynamoctl("plan", "m:C").code == 0
    problem = {
        "type": "unknown-gpu",
        "title": "t",
        "status": 422,
        "detail": "no GPU of that kind",
        "remedy": "ask for less",
    }
    local.answer("POST /v1/plans", problem, status=422)
    refused = dynamoctl("plan", "m:C")
    assert (refused.code, refused.stderr) == (2, "error: no GPU of that kind; ask for less\n")


def test_a_stale_plan_is_a_conflict(dynamoctl: Dynamoctl, local: StandIn) -> None:
    problem = {
        "type": "stale-plan",
        "title": "t",
        "status": 409,
        "detail": "the world has changed",
        "remedy": "plan anew",
    }
    local.answer("POST /v1/plans/p1/apply", problem, status=409)
    outcome = dynamoctl("apply", "p1")
    assert (outcome.code, outcome.stderr) == (4, "error: the world has changed; plan anew\n")
