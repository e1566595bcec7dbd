"""The page of a plan: what it shows, applying from it, and what becomes of one that is stale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynamo_tui.tui.dialogs.confirm import Confirm
from dynamo_tui.tui.screens.graph import GraphView
from dynamo_tui.tui.screens.graphs import GraphsView
from dynamo_tui.tui.screens.plan import PlanView
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn


async def test_a_confirmation_leads_to_the_whole_plan_which_can_be_applied(daemon: StandIn, socket_path: Path) -> None:
    daemon.stale = 1
    async with dashboard(socket_path, graph="agg_router", size=(120, 36)) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("colon", *"scale VllmWorker=6", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.view, PlanView) and "placed" in screen_text(pilot))
        text = screen_text(pilot)
        for part in (
            "VllmWorker-5",
            "GPU-4",
            "6 wanted, 4 there",
            "GPU 6 is left out: process 991",
            "2 start",
            "4 → 6",
        ):
            assert part in text
        assert "$ dynamoctl scale agg_router VllmWorker=6" in text
        await pilot.press("j", "tab")
        await until(pilot, lambda: "GPU-5" in screen_text(pilot))
        await pilot.press("tab", "p")
        await until(pilot, lambda: daemon.plans == 2)
        await pilot.press("y")
        await until(pilot, lambda: "nothing was done; planned anew" in screen_text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.view, GraphView))
        assert [p for _, p, _ in daemon.requests if p.endswith("apply")] == [
            "/v1/plans/p2/apply",
            "/v1/plans/p3/apply",
        ]


async def test_what_is_to_be_done_for_a_graph_is_a_plan_of_its_own(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(120, 36), read_only=True) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("colon", *"plan hello_world", "enter")
        await until(pilot, lambda: isinstance(pilot.app.view, PlanView))
        await until(pilot, lambda: "restart 4 of 10 in 9.0 s" in screen_text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: "this dashboard is read-only" in screen_text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.view, GraphsView))
        await pilot.press("colon", *"plan agg_router", "enter")
        await until(pilot, lambda: "there is nothing to do" in screen_text(pilot))
        assert "nothing to apply" in screen_text(pilot)
        assert [p for _, p, _ in daemon.requests if p.endswith("apply")] == []


async def test_a_submit_shows_its_plan_and_applies_it_when_told_to(
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
        await until(pilot, lambda: isinstance(pilot.app.view, PlanView))
        assert [r[:2] for r in daemon.requests] == [("POST", "/v1/plans")]
        asked = json.loads(daemon.requests[0][2])["submit"]
        assert asked["name"] == "tiny"
        assert [s["name"] for s in asked["spec"]["services"]] == ["Only"]
        await until(pilot, lambda: "dynamoctl submit one_service:Only --name tiny" in screen_text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: ("POST", "/v1/plans/p1/apply") in [r[:2] for r in daemon.requests])


async def test_a_submit_that_cannot_be_understood_or_inspected_says_so(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(120, 36)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("colon", *"submit a:B --nonsense", "enter")
        await until(pilot, lambda: "No such option" in screen_text(pilot))
        await pilot.press("colon", *"submit no_such_module:B", "enter")
        await until(pilot, lambda: "no_such_module" in screen_text(pilot) and "Submit no_such" in screen_text(pilot))
        assert daemon.requests == []
