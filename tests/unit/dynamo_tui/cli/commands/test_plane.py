"""The daemon, contexts, the environment and completion."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynamod.schema.graphs import Page
from tests.unit.dynamo_tui import sample
from tests.unit.dynamo_tui.cli.conftest import Dynamoctl
from tests.unit.dynamo_tui.standin import StandIn


def test_daemon_status(dynamoctl: Dynamoctl, local: StandIn) -> None:
    outcome = dynamoctl("daemon", "status")
    assert outcome.stdout.startswith("dynamod 0.1.0, pid 77, up ")
    assert dynamoctl("daemon", "status", "--json").json()["pid"] == 77


def test_daemon_status_without_one_exits_5(dynamoctl: Dynamoctl) -> None:
    assert dynamoctl("daemon", "status").code == 5


def test_daemon_start_is_content_with_one_that_runs(dynamoctl: Dynamoctl, local: StandIn) -> None:
    assert dynamoctl("daemon", "start").stdout == "dynamod already runs, pid 77, state in /state\n"


def test_contexts(dynamoctl: Dynamoctl, local: StandIn, home: Path) -> None:
    (home / "token").write_text("s3cret\n")
    token = str(home / "token")
    assert dynamoctl("config", "set", "box", "--url", "http://box:7000", "--token-file", token, "--use").code == 0
    listed = dynamoctl("config", "list")
    assert "s3cret" not in listed.stdout
    rows = {r["name"]: r for r in dynamoctl("config", "list", "--json").json()}
    assert rows["box"] | {"current": True} == {
        "name": "box", "address": "http://box:7000", "project": "default", "token": True, "current": True
    }  # fmt: skip
    assert not rows["local"]["current"]
    assert dynamoctl("config", "set", "box", "--project", "team").code == 0
    assert dynamoctl("config", "use", "local").code == 0
    assert dynamoctl("daemon", "status").code == 0
    assert dynamoctl("config", "use", "nope").stderr.startswith(
        "error: there is no context 'nope'; there are local, box"
    )
    assert dynamoctl("config", "set", "local", "--url", "http://x").code == 2
    assert dynamoctl("config", "set", "new").code == 2
    assert dynamoctl("config", "rm", "box").code == 0
    assert dynamoctl("config", "rm", "box").code == 2


def test_a_contexts_project_is_the_default_one(dynamoctl: Dynamoctl, local: StandIn) -> None:
    dynamoctl("config", "set", "mine", "--socket", str(local.socket), "--project", "team", "--use")
    local.answer("GET /v1/graphs", Page(items=[]))
    dynamoctl("graphs")
    assert "project=team" in local.asked[-1].target


def test_env_tells_versions_and_no_secrets(
    dynamoctl: Dynamoctl, local: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMOD_TOKEN", "s3cret-1")
    monkeypatch.setenv("HF_TOKEN", "s3cret-2")
    monkeypatch.setenv("DYN_LOG", "debug")
    outcome = dynamoctl("env")
    assert "s3cret" not in outcome.stdout
    facts = dynamoctl("env", "--json").json()
    assert facts["packages"]["dynamod"]
    assert facts["environment"]["DYN_LOG"] == "debug"
    assert facts["daemon"]["pid"] == 77
    assert {"python", "state directory", "daemon"} <= {finding["name"] for finding in facts["findings"]}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(dynamoctl: Dynamoctl, shell: str) -> None:
    assert "_DYNAMOCTL_COMPLETE" in dynamoctl("completion", shell).stdout


def test_graph_names_complete_from_the_daemon(
    dynamoctl: Dynamoctl, local: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.shell_completion import ShellComplete

    from dynamo_tui.cli.app import application

    local.answer("GET /v1/graphs", Page(items=[sample.graph("hello"), sample.graph("llm")]))
    completer = ShellComplete(application, {}, "dynamoctl", "_DYNAMOCTL_COMPLETE")
    assert [c.value for c in completer.get_completions(["logs"], "he")] == ["hello"]
    assert [c.value for c in completer.get_completions(["logs", "--context"], "lo")] == ["local"]
    assert [c.value for c in completer.get_completions([], "roll")] == ["rollback", "rollout"]
