"""`build`, `builds` and `get`: what is asked of the daemon, and what is done without one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dynamod.schema.builds import Build
from dynamod.schema.graphs import Page
from tests.unit.dynamo_tui.cli.conftest import Dynamoctl
from tests.unit.dynamo_tui.standin import StandIn

AT = datetime(2026, 1, 1, tzinfo=UTC)
BUILD = Build(
    tag="g:1",
    name="g",
    version="1",
    digest="ab" * 32,
    sha256="cd" * 32,
    size=2048,
    created_at=AT,
    stored_at=AT,
    service="m:A",
    entry="A",
    python_version="3.11",
    path="/srv/builds/g@1.tar.gz",
    used_by=["default/g"],
)


def test_builds_are_listed_shown_and_named(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.answer("GET /v1/builds", Page(items=[BUILD]))
    local.answer("GET /v1/builds/g%3A1", BUILD)
    listed = dynamoctl("builds", "ls")
    assert "g:1" in listed.stdout
    assert "default/g" in listed.stdout
    assert dynamoctl("builds", "ls", "-o", "name").stdout == "g:1\n"
    assert "m:A" in dynamoctl("builds", "show", "g:1").stdout
    assert dynamoctl("get", "g:1", "-o", "path").stdout == "/srv/builds/g@1.tar.gz\n"
    assert dynamoctl("get", "g:1", "-o", "json").json()["tag"] == "g:1"
    assert "tag: g:1" in dynamoctl("get", "g:1").stdout


def test_a_graph_in_the_working_tree_is_no_build(
    dynamoctl: Dynamoctl, local: StandIn, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "hello.py").write_text("print('no graph')\n")
    monkeypatch.chdir(home)
    outcome = dynamoctl("submit", "hello:thing")
    assert outcome.code == 2
    assert "hello" in outcome.stderr


def test_options_that_a_build_does_not_take_are_refused(dynamoctl: Dynamoctl, local: StandIn) -> None:
    local.answer("GET /v1/builds/g%3A1", BUILD)
    outcome = dynamoctl("submit", "g:1", "--python", "/usr/bin/python3")
    assert outcome.code == 2
    assert "--python does not go with a build" in outcome.stderr


def test_what_cannot_be_built_is_one_line(dynamoctl: Dynamoctl, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    outcome = dynamoctl("build", "nothing_here:A", "-o", str(home / "out"))
    assert outcome.code == 2
    assert outcome.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "nothing_here" in outcome.stderr
    assert dynamoctl("build", "m:A", "-t", "No Tag").stderr.count("is no tag") == 1
