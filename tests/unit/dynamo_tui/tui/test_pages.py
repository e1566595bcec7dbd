"""Replica, events, GPUs and metrics, driven by keys."""

from __future__ import annotations

from pathlib import Path

from dynamo_tui.tui.screens.graph import GraphView
from dynamo_tui.tui.screens.replica import ReplicaView
from dynamod.schema import Action, Event
from tests.unit.dynamo_tui.tui import world
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn


async def test_replica_page_explains_and_hides_secrets(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="hello_world", size=(120, 40)) as pilot:
        await until(pilot, lambda: "Backend-1" in screen_text(pilot))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: isinstance(pilot.app.view, ReplicaView))
        await until(pilot, lambda: "the next retry, in 9 s" in screen_text(pilot))
        text = screen_text(pilot)
        assert "backing off: exited with code 1, retry in 9s" in text
        assert "code 1 (exited with error), 3s ago" in text
        assert "GPU 6: rejected, foreign process 991" in text
        await pilot.press("i")
        await until(pilot, lambda: "REGION=eu" in screen_text(pilot))
        assert "HF_TOKEN=••••••" in screen_text(pilot)
        assert "hf_very_secret" not in screen_text(pilot)


async def test_replica_page_follows_its_own_log(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(120, 40)) as pilot:
        await until(pilot, lambda: "VllmWorker-2" in screen_text(pilot))
        await pilot.press("tab", "G", "enter")
        await until(pilot, lambda: "VllmWorker-4│" in screen_text(pilot))
        assert "VllmWorker-1│" not in screen_text(pilot)


async def test_events_are_listed_and_lead_to_their_graph(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(140, 30)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("7")
        await until(pilot, lambda: "service.scaled" in screen_text(pilot))
        assert "token:ci" in screen_text(pilot)
        await pilot.press("slash", *"scaled", "enter")
        await until(pilot, lambda: "token:ci" not in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.view, GraphView))
        assert pilot.app.view.graph_key.name == "agg_router"


async def test_gpus_show_foreign_processes_and_leaks(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(190, 30)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("6")
        await until(pilot, lambda: "foreign" in screen_text(pilot))
        text = screen_text(pilot)
        assert "1 foreign, 2 free, 4 in use, 1 trouble" in text
        assert "memory still held after its owner ended" in text
        assert "simulated inventory" in text
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.view, ReplicaView))


async def test_metrics_compare_zoom_and_cursor(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(120, 36)) as pilot:
        await until(pilot, lambda: "VllmWorker-2" in screen_text(pilot))
        await pilot.press("5")
        await until(pilot, lambda: "Frontend requests/s" in screen_text(pilot))
        await pilot.press("space", "down", "down")
        await until(pilot, lambda: "Frontend in flight" in screen_text(pilot) and "its maximum" in screen_text(pilot))
        await pilot.press("plus")
        await until(pilot, lambda: "-1m00s" in screen_text(pilot))
        await pilot.press("left")
        await until(pilot, lambda: "at 14:13:" in screen_text(pilot))
        await pilot.press("a")
        await until(pilot, lambda: pilot.app.view.with_replicas)


async def test_builds_are_listed_shown_and_removed_when_nothing_needs_them(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(120, 40)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("8")
        await until(pilot, lambda: "agg_router:2" in screen_text(pilot) and "2 packages" in screen_text(pilot))
        text = screen_text(pilot)
        assert "msgspec                         0.19.0" in text
        assert "graphs.agg_router:Frontend" in text
        assert "23 of" in text
        await pilot.press("D")
        await until(pilot, lambda: "is used by default/agg_router" in screen_text(pilot))
        await pilot.press("down", "D")
        await until(pilot, lambda: "dynamoctl builds rm agg_router:1" in screen_text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: ("DELETE", "/v1/builds/agg_router:1", b"") in daemon.requests)


async def test_builds_are_fetched_again_when_one_comes_or_goes(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(120, 40)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("8")
        await until(pilot, lambda: "agg_router:1" in screen_text(pilot))
        del daemon.builds[1]
        await daemon.emit(Event(seq=1_000, at=world.at(0), actor="cli", action=Action.BUILD_REMOVED))
        await until(pilot, lambda: "agg_router:1" not in screen_text(pilot))
