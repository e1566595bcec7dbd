"""Actions say what they do, ask, and send what `dynamoctl` would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dynamo_tui.tui.dialogs.confirm import Confirm
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


def test_what_cannot_be_done_is_said_before_the_daemon_is_asked() -> None:
    ours = operations()
    assert ours.scale(ROUTER, "VllmWorker", 0).harmful
    with pytest.raises(NotPossible, match="no service 'Nope'"):
        ours.scale(ROUTER, "Nope", 1)
    with pytest.raises(NotPossible, match="no graph gone"):
        ours.stop(GraphKey("default", "gone"))
    with pytest.raises(NotPossible, match="drain a service or a replica"):
        ours.drain(ROUTER)


def asked_changes(daemon: StandIn) -> list[dict[str, Any]]:
    """The changes that plans were asked of, without the fields that are not set."""
    found = [json.loads(body)["change"] for _, path, body in daemon.requests if path == "/v1/plans"]
    return [{k: v for k, v in change.items() if v is not None and k != "project"} for change in found]


def applied(daemon: StandIn) -> list[str]:
    return [path for _, path, _ in daemon.requests if path.endswith("/apply")]


async def test_scale_asks_confirms_and_applies_the_plan(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router") as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("G", "s")
        await until(pilot, lambda: "scale VllmWorker to:" in screen_text(pilot))
        await pilot.press("backspace", "6", "enter")
        await until(pilot, lambda: "dynamoctl scale agg_router VllmWorker=6" in screen_text(pilot))
        assert "starts 2 of VllmWorker on GPUs 4,5: 6 wanted, 4 there" in screen_text(pilot)
        await pilot.press("n")
        await pilot.pause(0.1)
        assert applied(daemon) == []
        await pilot.press("colon", *"scale VllmWorker=6", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("enter")
        await until(pilot, lambda: applied(daemon) == ["/v1/plans/p2/apply"])
        change = {"graph": "agg_router", "action": "scale", "service": "VllmWorker", "replicas": 6}
        assert asked_changes(daemon) == [change, change]


@pytest.mark.parametrize(
    ("key", "action", "told"),
    [
        ("x", "stop", "nothing answers until it is started again"),
        ("D", "remove", "the graph is removed"),
        ("R", "rollback", "revision 2 comes back as revision 4"),
        ("r", "restart", "drains and stops 4 of VllmWorker on GPUs 0,1,2,3 within 30s"),
    ],
)
async def test_keys_change_the_graph_under_the_cursor(
    daemon: StandIn, socket_path: Path, key: str, action: str, told: str
) -> None:
    async with dashboard(socket_path, size=(120, 40)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("down", key)
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert told in screen_text(pilot)
        if pilot.app.screen.operation.harmful:
            await pilot.press("enter")
            await pilot.pause(0.05)
            assert applied(daemon) == []
        await pilot.press("y")
        await until(pilot, lambda: bool(applied(daemon)))
        assert asked_changes(daemon) == [{"graph": "agg_router", "action": action}]


async def test_a_replica_or_a_service_is_drained(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(120, 40)) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("tab", "G", "d")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert "$ dynamoctl drain agg_router --replica agg_router-vllmworker-4" in screen_text(pilot)
        await until(pilot, lambda: "drains and stops VllmWorker-4 on GPU 3 within 30s" in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: len(applied(daemon)) == 1)
        await pilot.press("colon", *"drain Router", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await until(pilot, lambda: "Router does not answer from now" in screen_text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Confirm))
        assert asked_changes(daemon) == [
            {"graph": "agg_router", "action": "drain", "replica": "agg_router-vllmworker-4"},
            {"graph": "agg_router", "action": "drain", "service": "Router"},
        ]


async def test_a_plan_that_has_gone_stale_is_made_anew_and_asked_again(daemon: StandIn, socket_path: Path) -> None:
    daemon.stale = 1
    async with dashboard(socket_path, graph="agg_router") as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("colon", *"scale VllmWorker=6", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: "nothing was done; planned anew" in screen_text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: applied(daemon) == ["/v1/plans/p1/apply", "/v1/plans/p2/apply"])


async def test_a_refusal_is_shown_with_its_remedy(daemon: StandIn, socket_path: Path) -> None:
    daemon.refuse = Problem(
        type="gpu-shortage", title="too few GPUs", status=409, detail="2 GPUs are missing", remedy="stop something"
    )
    async with dashboard(socket_path, graph="agg_router") as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("colon", *"scale VllmWorker=6", "enter")
        await until(
            pilot, lambda: "2 GPUs are missing" in screen_text(pilot) and "stop something" in screen_text(pilot)
        )


async def test_read_only_changes_nothing(daemon: StandIn, socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with dashboard(socket_path, graph="agg_router", read_only=True) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        assert "read-only" in screen_text(pilot)
        await pilot.press("r")
        await until(pilot, lambda: "this dashboard is read-only" in screen_text(pilot))
        said: list[str] = []
        monkeypatch.setattr(pilot.app, "notify", lambda message, **_: said.append(message))
        await pilot.press("colon", *"stop", "enter")
        await until(pilot, lambda: any("this dashboard is read-only" in message for message in said))
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
