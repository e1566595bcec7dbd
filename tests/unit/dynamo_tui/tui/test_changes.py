"""Actions say what they do, ask, and send what `dynamoctl` would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynamo_tui.tui.dialogs.confirm import Confirm, Report
from dynamo_tui.tui.dialogs.keys import Help
from dynamo_tui.tui.operations import NotPossible, Operations
from dynamo_tui.tui.screens.events import EventsView
from dynamo_tui.tui.screens.kv import KvView
from dynamo_tui.tui.store import GraphKey, Store
from dynamod.schema import Problem
from tests.unit.dynamo_tui.tui import world
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn

ROUTER = GraphKey("default", "agg_router")


def operations(context: str = "local") -> Operations:
    store = Store()
    store.set_snapshot(world.INFO, [world.ROUTER_GRAPH, world.HELLO_GRAPH], world.REPLICAS, 100)
    return Operations(store, context)


def test_operations_show_their_command_line() -> None:
    ours = operations()
    assert ours.scale(ROUTER, "VllmWorker", 6).command == "dynamoctl scale agg_router VllmWorker=6"
    assert ours.restart(ROUTER, "Router").command == "dynamoctl restart agg_router --service Router"
    assert ours.rollback(ROUTER, 2).command == "dynamoctl rollback agg_router --to 2"
    assert ours.stop(ROUTER).command == "dynamoctl stop agg_router"
    assert ours.remove(ROUTER).command == "dynamoctl rm agg_router"
    assert operations("lab").start(ROUTER).command == "dynamoctl start agg_router --context lab"


def test_operations_say_what_will_happen() -> None:
    ours = operations()
    assert "starts 2 replicas of VllmWorker, each with 1 GPU" in ours.scale(ROUTER, "VllmWorker", 6).consequences
    assert any("drains and stops 3 replicas" in c for c in ours.scale(ROUTER, "VllmWorker", 1).consequences)
    assert ours.scale(ROUTER, "VllmWorker", 0).harmful
    assert any(
        "3 replicas of its service go on" in c
        for c in ours.restart(ROUTER, None, "agg_router-vllmworker-1").consequences
    )
    assert any("does not answer meanwhile" in c for c in ours.restart(ROUTER, None, "agg_router-router-1").consequences)
    with pytest.raises(NotPossible, match="no service 'Nope'"):
        ours.scale(ROUTER, "Nope", 1)
    with pytest.raises(NotPossible, match="no graph gone"):
        ours.stop(GraphKey("default", "gone"))


async def test_scale_asks_confirms_and_sends(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router") as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("G", "s")
        await until(pilot, lambda: "scale VllmWorker to:" in screen_text(pilot))
        await pilot.press("backspace", "6", "enter")
        await until(pilot, lambda: "dynamoctl scale agg_router VllmWorker=6" in screen_text(pilot))
        assert "VllmWorker: 4 now, 6 then" in screen_text(pilot)
        await pilot.press("n")
        await pilot.pause(0.1)
        assert daemon.requests == []
        await pilot.press("colon", *"scale VllmWorker=6", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("enter")
        await until(pilot, lambda: len(daemon.requests) == 1)
        method, path, body = daemon.requests[0]
        assert (method, path) == ("POST", "/v1/graphs/agg_router/services/VllmWorker/scale")
        assert json.loads(body) == {"replicas": 6}


@pytest.mark.parametrize(
    ("key", "request_line"),
    [
        ("x", ("POST", "/v1/graphs/agg_router/stop")),
        ("D", ("DELETE", "/v1/graphs/agg_router")),
        ("R", ("POST", "/v1/graphs/agg_router/rollback")),
        ("r", ("POST", "/v1/graphs/agg_router/restart")),
    ],
)
async def test_keys_change_the_graph_under_the_cursor(
    daemon: StandIn, socket_path: Path, key: str, request_line: tuple[str, str]
) -> None:
    async with dashboard(socket_path) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("down", key)
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        if pilot.app.screen.operation.harmful:
            await pilot.press("enter")
            await pilot.pause(0.05)
            assert daemon.requests == []
        await pilot.press("y")
        await until(pilot, lambda: bool(daemon.requests))
        assert daemon.requests[0][:2] == request_line


async def test_a_refusal_is_shown_with_its_remedy(daemon: StandIn, socket_path: Path) -> None:
    daemon.refuse = Problem(
        type="gpu-shortage", title="too few GPUs", status=409, detail="2 GPUs are missing", remedy="stop something"
    )
    async with dashboard(socket_path, graph="agg_router") as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("colon", *"scale VllmWorker=6", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await until(
            pilot, lambda: "2 GPUs are missing" in screen_text(pilot) and "stop something" in screen_text(pilot)
        )


async def test_read_only_changes_nothing(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", read_only=True) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        assert "read-only" in screen_text(pilot)
        await pilot.press("r")
        await pilot.press("colon", *"stop", "enter")
        await until(pilot, lambda: "this dashboard is read-only" in screen_text(pilot))
        assert not isinstance(pilot.app.screen, Confirm)
        assert daemon.requests == []


async def test_commands_complete_and_explain_themselves(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router") as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("colon", "k", "tab", "enter")
        await until(pilot, lambda: isinstance(pilot.app.view, KvView))
        await pilot.press("colon", *"ev", "enter")
        await until(pilot, lambda: isinstance(pilot.app.view, EventsView))
        await pilot.press("colon", *"nonsense", "enter")
        await until(pilot, lambda: "there is no command :nonsense" in screen_text(pilot))
        await pilot.press("colon", "up")
        await until(pilot, lambda: pilot.app.prompt.input.value == "nonsense")
        await pilot.press("escape")
        assert not pilot.app.prompt.is_open


async def test_help_lists_bindings_and_commands(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(100, 60)) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))
        text = screen_text(pilot)
        for line in ("Graph page", "In a table", "Everywhere", "Scale", "Restart", "Filter"):
            assert line in text
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Help))


async def test_the_palette_offers_actions(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router") as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "Services/replicas" in screen_text(pilot))
        await pilot.press(*":kv")
        await until(pilot, lambda: "the KV router" in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.view, KvView))


async def test_submit_shows_the_plan_and_applies_it_when_told_to(
    daemon: StandIn, socket_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "one_service.py").write_text(
        "from dynamo.sdk import service, endpoint\n\n\n"
        "@service\nclass Only:\n    @endpoint()\n    async def say(self, text: str):\n        yield text\n"
    )
    monkeypatch.chdir(tmp_path)
    async with dashboard(socket_path, size=(120, 36)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("colon", *"submit one_service:Only --name tiny", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Report))
        assert [r[:2] for r in daemon.requests] == [("POST", "/v1/plans")]
        asked = json.loads(daemon.requests[0][2])["submit"]
        assert asked["name"] == "tiny"
        assert [s["name"] for s in asked["spec"]["services"]] == ["Only"]
        assert "dynamoctl submit one_service:Only --name tiny" in screen_text(pilot)
        await pilot.press("y")
        await until(pilot, lambda: ("POST", "/v1/plans/p1/apply") in [r[:2] for r in daemon.requests])


async def test_a_submit_that_cannot_be_understood_or_inspected_says_so(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(120, 36)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("colon", *"submit a:B --nonsense", "enter")
        await until(pilot, lambda: "No such option" in screen_text(pilot))
        await pilot.press("colon", *"submit no_such_module:B", "enter")
        await until(pilot, lambda: "no_such_module" in screen_text(pilot) and ":submit" in screen_text(pilot))
        assert daemon.requests == []
