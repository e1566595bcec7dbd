from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from dynamo_tui.cli.targets import take_overrides
from dynamod.schema.graphs import GraphSubmit
from dynamod.schema.locations import default_state_dir, locations
from dynamod.schema.serve import ServeRegistration, registration_file
from tests.unit.dynamo_tui import sample
from tests.unit.dynamo_tui.cli.conftest import Dynamoctl
from tests.unit.dynamo_tui.standin import StandIn, standin

GRAPH = """
from pydantic import BaseModel
from dynamo.sdk import api, depends, endpoint, service

class Request(BaseModel):
    text: str

@service(dynamo={"namespace": "unit"}, workers=2)
class Back:
    @endpoint()
    async def generate(self, request: Request):
        yield request.text

@service(dynamo={"namespace": "unit"})
class Front:
    back = depends(Back)
    @api
    async def generate(self, request: Request):
        yield request.text
"""


@pytest.mark.parametrize(
    ("arguments", "rest", "overrides"),
    [
        (["m:C", "--S.k=v"], ["m:C"], ["--S.k=v"]),
        (["--S.k", "5", "m:C"], ["m:C"], ["--S.k=5"]),
        (["--S.a.b-c=-1", "--wait"], ["--wait"], ["--S.a.b-c=-1"]),
        (["--S.k=a=b\nc"], [], ["--S.k=a=b\nc"]),
        (["-f", "a.b", "--file=x.yaml"], ["-f", "a.b", "--file=x.yaml"], []),
        (["x", "--", "--S.k=v"], ["x", "--", "--S.k=v"], []),
    ],
)
def test_overrides_are_told_from_options(arguments: list[str], rest: list[str], overrides: list[str]) -> None:
    assert take_overrides(arguments) == (rest, overrides)


def test_submit_sends_the_spec_that_the_graphs_interpreter_derives(
    dynamoctl: Dynamoctl, local: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "unit_graph.py").write_text(GRAPH)
    local.answer("POST /v1/graphs", sample.graph("front"), status=201)
    outcome = dynamoctl(
        "submit", "unit_graph:Front", "--working-dir", str(tmp_path), "--python", sys.executable, "--name", "mine",
        "--project", "team", "--env", "A=1=2", "--Back.depth=3", "--Back.ServiceArgs.workers", "4",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == "graph front created, revision 1: ready\n"
    asked = local.asked[-1]
    assert asked.target == "/v1/graphs?project=team"
    request = msgspec.json.decode(asked.body, type=GraphSubmit)
    assert (request.name, request.project, request.envs) == ("mine", "team", {"A": "1=2"})
    assert request.spec.entry == "Front"
    assert request.spec.service("Back").workers == 4
    assert request.spec.service("Back").config == {"depth": 3}


def test_what_the_sdk_refuses_is_its_own_one_line(dynamoctl: Dynamoctl, local: StandIn, tmp_path: Path) -> None:
    (tmp_path / "unit_graph.py").write_text(GRAPH)
    outcome = dynamoctl("submit", "unit_graph:Nope", "--working-dir", str(tmp_path))
    assert outcome.code == 2
    assert outcome.stderr.startswith("error: ")
    assert "Nope" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not [a for a in local.asked if a.method == "POST"]


def test_an_interpreter_that_cannot_run_is_said_so(dynamoctl: Dynamoctl, local: StandIn) -> None:
    outcome = dynamoctl("submit", "m:C", "--python", "/nope/python")
    assert outcome.code == 2
    assert (
        outcome.stderr
        == "error: cannot run /nope/python: No such file or directory; name an interpreter: --python PATH\n"
    )


def test_no_start_forbids_starting_a_daemon(dynamoctl: Dynamoctl, tmp_path: Path) -> None:
    (tmp_path / "unit_graph.py").write_text(GRAPH)
    outcome = dynamoctl("submit", "unit_graph:Front", "--working-dir", str(tmp_path), "--no-start")
    assert outcome.code == 5


def test_a_graph_is_not_given_to_a_serve_that_will_forget_it(dynamoctl: Dynamoctl, home: Path, tmp_path: Path) -> None:
    (tmp_path / "unit_graph.py").write_text(GRAPH)
    with standin(home / "serve.sock") as serve:
        registration = registration_file(locations(default_state_dir(os.environ)), os.getpid())
        registration.parent.mkdir(parents=True)
        record = ServeRegistration(
            pid=os.getpid(), socket=str(serve.socket), project="default", graph="hello", target="m:C",
            started_at=datetime.now(UTC),
        )  # fmt: skip
        registration.write_bytes(msgspec.json.encode(record))
        outcome = dynamoctl("submit", "unit_graph:Front", "--working-dir", str(tmp_path), "--no-start")
        assert outcome.code == 5
        assert serve.asked == []
