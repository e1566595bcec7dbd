"""The form of a submit: picked files, services found by inspection, overrides, and the plan that it leads to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from dynamo_tui.tui.screens.plan import PlanView
from dynamo_tui.tui.screens.submit import SubmitView
from dynamo_tui.tui.submit_form import Form, FormError, complete_pair, complete_path
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn

GRAPH = """
from dynamo.sdk import depends, endpoint, service


@service(workers=2, resources={"gpu": 1}, envs=[{"name": "HF_HOME", "value": "/models"}])
class Worker:
    def __init__(self, model: str = "tiny"):
        self.model = model

    @endpoint()
    async def work(self, text: str):
        yield text


@service
class Front:
    worker = depends(Worker)

    @endpoint()
    async def ask(self, text: str):
        yield text
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a graph, its configuration, and files that are none of a submit's business."""
    (tmp_path / "two.py").write_text(GRAPH)
    (tmp_path / "conf.yaml").write_text("Worker:\n  model: small\n")
    (tmp_path / "notes.txt").write_text("not offered")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "bad.py").write_text("import nothing_like_this\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def answer(pilot: Pilot[Any], key: str, label: str, text: str) -> None:
    """Press a key that asks, and answer."""
    await pilot.press(key)
    await until(pilot, lambda: pilot.app.prompt.is_open and f"{label}:" in screen_text(pilot))
    pilot.app.prompt.input.value = text
    await pilot.press("enter")
    await until(pilot, lambda: not pilot.app.prompt.is_open)


async def test_a_picked_module_is_inspected_overridden_and_planned(
    daemon: StandIn, socket_path: Path, project: Path
) -> None:
    async with dashboard(socket_path, size=(140, 36)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.view, SubmitView) and "two.py" in screen_text(pilot))
        view = app.view
        assert "notes.txt" not in screen_text(pilot)
        await pilot.press("slash", *"two", "enter")
        await until(pilot, lambda: "conf.yaml" not in screen_text(pilot))
        await pilot.press("end", "enter")
        await until(pilot, lambda: [s.name for s in view.table.rows] != [])
        await until(pilot, lambda: view.table.has_focus)
        await until(pilot, lambda: "$ dynamoctl submit two.py" in screen_text(pilot))
        await pilot.press("escape")
        view.table.move_to_key("Worker")
        await answer(pilot, "r", "replicas of Worker", "x")
        await until(pilot, lambda: "'x' is not a number of replicas" in screen_text(pilot))
        await answer(pilot, "r", "replicas of Worker", "3")
        await answer(pilot, "u", "GPUs of each Worker", "0.5")
        await answer(pilot, "v", "variable of Worker", "HF_HOME=/elsewhere")
        await answer(pilot, "c", "config of Worker", "model=large")
        await answer(pilot, "V", "variable of every replica", "LOG=debug")
        await answer(pilot, "n", "name", "duo")
        await pilot.press("o")
        await until(pilot, lambda: "runs as docker" in screen_text(pilot))
        await pilot.press("o", "o")
        await until(pilot, lambda: "runs as process" in screen_text(pilot))
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.view, PlanView))
        asked = json.loads(daemon.requests[0][2])["submit"]
        worker = next(s for s in asked["spec"]["services"] if s["name"] == "Worker")
        assert (worker["workers"], worker["resources"]["gpu"], worker["envs"]) == (3, 0.5, {"HF_HOME": "/elsewhere"})
        assert worker["config"]["model"] == "large"
        assert (asked["name"], asked["envs"]) == ("duo", {"LOG": "debug"})
        # The form comes back as it was left.
        await pilot.press("escape")
        await until(pilot, lambda: app.view is view)
        await pilot.press("x")
        await until(pilot, lambda: "--Worker" not in screen_text(pilot))


async def test_the_target_and_the_configuration_are_typed_with_completion(
    daemon: StandIn, socket_path: Path, project: Path
) -> None:
    async with dashboard(socket_path, size=(140, 36)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("colon", *"submit", "enter")
        await until(pilot, lambda: isinstance(app.view, SubmitView))
        await pilot.press("p")
        await until(pilot, lambda: "choose a target first" in screen_text(pilot))
        await pilot.press("t", *"sub/", "tab", "enter")
        await until(pilot, lambda: "nothing_like_this" in screen_text(pilot))
        await answer(pilot, "t", "target", "two:Front")
        await until(pilot, lambda: "Worker" in screen_text(pilot))
        await answer(pilot, "f", "configuration file", "nowhere.yaml")
        await until(pilot, lambda: "'nowhere.yaml' does not exist" in screen_text(pilot))
        await answer(pilot, "f", "configuration file", "conf.yaml")
        await until(pilot, lambda: "Worker" in screen_text(pilot))
        await answer(pilot, "w", "working directory", str(project))
        await until(pilot, lambda: "--working-dir" in screen_text(pilot) and "Worker" in screen_text(pilot))
        await pilot.press("tab")
        await until(pilot, lambda: app.view.picker.has_focus)


async def test_a_build_is_submitted_from_its_page(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(140, 36)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("8")
        await until(pilot, lambda: "agg_router:2" in screen_text(pilot))
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.view, SubmitView) and "VllmWorker" in screen_text(pilot))
        await answer(pilot, "r", "replicas of Frontend", "2")
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.view, PlanView))
        asked = json.loads(daemon.requests[0][2])["submit"]
        assert (asked["build"], asked["spec"]) == ("agg_router:2", None)
        assert asked["settings"]["overrides"] == ["--Frontend.ServiceArgs.workers=2"]


async def test_a_read_only_dashboard_has_no_form(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, read_only=True) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("S")
        await until(pilot, lambda: "this dashboard is read-only" in screen_text(pilot))
        assert not isinstance(pilot.app.view, SubmitView)


def test_a_form_is_words_of_a_command_line(project: Path) -> None:
    form = Form(target="two:Front", config_file="conf.yaml", driver="docker").with_env(None, "A=1")
    form = form.with_replicas("Worker", "2").with_config("Worker", "kv.capacity=8")
    words = ["two:Front", "-f", "conf.yaml", "--driver", "docker", "--env", "A=1"]
    assert form.words() == [*words, "--Worker.ServiceArgs.workers=2", "--Worker.kv.capacity=8"]
    assert form.without("Worker").with_env(None, "A=").words() == words[:5]
    for wrong in (
        lambda: form.with_gpus("W", "many"),
        lambda: form.with_config("W", "key"),
        lambda: form.with_driver("x"),
    ):
        with pytest.raises(FormError):
            wrong()
    assert complete_path("s") == ["sub/"]
    assert complete_path("sub/") == ["sub/bad.py"]
    assert complete_path("") == ["conf.yaml", "sub/", "two.py"]
    assert complete_path("two.py:F") == []
    assert complete_path("no/such/place") == []
    assert complete_pair(["model", "mode"], "mod") == ["model=", "mode="]
