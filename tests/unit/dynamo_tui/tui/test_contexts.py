"""Several daemons at once: each tab keeps its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dynamo_tui.tui.dialogs.contexts import Contexts
from dynamo_tui.tui.screens.graph import GraphView
from dynamo_tui.tui.screens.plan import PlanView
from dynamo_tui.tui.store import GraphKey, Link
from dynamod.schema import Action, Event
from tests.unit.dynamo_tui.tui import world
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn


@pytest.fixture
async def lab(socket_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandIn]:
    """A second daemon, known as the context `lab`, which has one graph alone."""
    other = StandIn()
    other.graphs.pop("hello_world")
    path = socket_path.with_name("other")
    await other.start(path)
    contexts = tmp_path / "contexts.json"
    contexts.write_text(json.dumps({"contexts": {"lab": {"socket": str(path)}}}))
    monkeypatch.setenv("DYNAMOD_CONFIG", str(contexts))
    yield other
    await other.stop()


async def test_each_tab_keeps_its_context(daemon: StandIn, lab: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path) as pilot:
        app = pilot.app
        await until(pilot, lambda: "hello_world" in screen_text(pilot))
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "tab 2/2" in screen_text(pilot))
        await pilot.press("colon", *"context lab", "enter")
        await until(pilot, lambda: "● live  lab" in screen_text(pilot) and "agg_router" in screen_text(pilot))
        assert "hello_world" not in screen_text(pilot)
        assert len(app.sessions) == 2
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: "● live  local" in screen_text(pilot) and "hello_world" in screen_text(pilot))
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: "● live  lab" in screen_text(pilot) and "hello_world" not in screen_text(pilot))
        await pilot.press("ctrl+w")
        await until(pilot, lambda: "● live  local" in screen_text(pilot))
        await until(pilot, lambda: lab.open_streams == [])
        assert [s.context.name for s in app.sessions] == ["local"]


async def test_a_context_that_is_lost_keeps_its_picture_while_the_other_lives(
    daemon: StandIn, lab: StandIn, socket_path: Path
) -> None:
    async with dashboard(socket_path, graph="agg_router") as pilot:
        app = pilot.app
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "tab 2/2" in screen_text(pilot))
        await pilot.press("colon", *"context lab", "enter")
        await until(pilot, lambda: app.store.link is Link.LIVE and app.context.name == "lab")
        await lab.stop()
        await until(pilot, lambda: "disconnected" in screen_text(pilot))
        assert "agg_router" in screen_text(pilot)
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: isinstance(app.view, GraphView) and "disconnected" not in screen_text(pilot))
        # What happens meanwhile comes once it is back, from the sequence that the tab had.
        removed = Event(
            seq=101, at=world.at(0), actor="engine", action=Action.GRAPH_REMOVED, project="default", graph="agg_router"
        )
        lab.events.append(removed)
        await lab.start(socket_path.with_name("other"))
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: "● live  lab" in screen_text(pilot) and "no graphs yet" in screen_text(pilot))
        assert app.store.events[-1].seq == 101


async def test_the_switcher_opens_a_context_here_or_in_a_new_tab(
    daemon: StandIn, lab: StandIn, socket_path: Path
) -> None:
    async with dashboard(socket_path) as pilot:
        app = pilot.app
        await until(pilot, lambda: "hello_world" in screen_text(pilot))
        await pilot.press("C")
        await until(pilot, lambda: isinstance(app.screen, Contexts) and "this tab" in screen_text(pilot))
        assert " lab " in screen_text(pilot)
        await pilot.press("down", "t")
        await until(pilot, lambda: "tab 2/2" in screen_text(pilot) and "● live  lab" in screen_text(pilot))
        await pilot.press("C")
        await until(pilot, lambda: isinstance(app.screen, Contexts))
        assert screen_text(pilot).count("● live") == 3  # in the title, and one for each daemon
        await pilot.press("home", "enter")
        await until(pilot, lambda: "● live  local" in screen_text(pilot) and "hello_world" in screen_text(pilot))
        await until(pilot, lambda: lab.open_streams == [])
        await pilot.press("colon", *"context nowhere", "enter")
        await until(pilot, lambda: "there is no context 'nowhere'" in screen_text(pilot))
        await pilot.press("colon", *"context", "enter")
        await until(pilot, lambda: isinstance(app.screen, Contexts))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, Contexts))


async def test_a_plan_is_shown_in_a_tab_of_the_daemon_that_made_it(
    daemon: StandIn, lab: StandIn, socket_path: Path
) -> None:
    async with dashboard(socket_path) as pilot:
        app = pilot.app
        await until(pilot, lambda: "hello_world" in screen_text(pilot))
        app.look_at("lab", in_new_tab=True)
        key = GraphKey("default", "agg_router")
        await until(pilot, lambda: app.context.name == "lab" and key in app.store.graphs)
        operation = app.operations.scale(key, "VllmWorker", 6)
        plan, session = await operation.plan(app.client), app.session
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: app.context.name == "local")
        app.open_plan(operation, plan, session)
        await until(pilot, lambda: isinstance(app.view, PlanView) and app.context.name == "lab")
        await pilot.press("y")
        await until(pilot, lambda: any(path.endswith("/apply") for _, path, _ in lab.requests))
        assert daemon.requests == []
