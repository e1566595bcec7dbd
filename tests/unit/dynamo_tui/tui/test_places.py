"""Tabs, panes, contexts, keys and themes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from dynamo_tui.tui.screens.events import EventsView
from dynamo_tui.tui.screens.graph import GraphView
from dynamo_tui.tui.screens.graphs import GraphsView
from dynamo_tui.tui.screens.kv import KvView
from dynamo_tui.tui.screens.metrics import MetricsView
from dynamo_tui.tui.settings import Settings, SettingsError, load_settings
from dynamo_tui.tui.store import GraphKey, Topic
from tests.unit.dynamo_tui.tui.conftest import DEADLINE_S, dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn


async def test_tabs_keep_their_state_and_pause_while_hidden(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router") as pilot:
        app = pilot.app
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("4")
        await until(pilot, lambda: "/v1/graphs/agg_router/kv/stream" in daemon.open_streams)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: isinstance(app.view, GraphsView) and "tab 2/2" in screen_text(pilot))
        await until(pilot, lambda: daemon.open_streams == ["/v1/events/stream"])
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: isinstance(app.view, KvView) and "89.4%" in screen_text(pilot))
        await until(pilot, lambda: "/v1/graphs/agg_router/kv/stream" in daemon.open_streams)
        await pilot.press("ctrl+w")
        await until(pilot, lambda: isinstance(app.view, GraphsView) and "tab" not in screen_text(pilot).split("\n")[0])


async def test_two_pages_side_by_side(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(160, 40)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("backslash")
        await until(pilot, lambda: isinstance(app.view, GraphsView))
        await pilot.press("7")
        await until(pilot, lambda: isinstance(app.view, EventsView) and "scaled up" in screen_text(pilot))
        assert "VllmWorker-4" in screen_text(pilot)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.view, GraphView))
        await pilot.press("ctrl+w")
        await until(pilot, lambda: isinstance(app.view, EventsView) and "VllmWorker-4" not in screen_text(pilot))


async def test_a_page_that_is_on_the_stack_comes_back(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router") as pilot:
        app = pilot.app
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        graph = app.view
        for key in ("4", "2", "4", "2"):
            await pilot.press(key)
            await until(pilot, lambda k=key: isinstance(app.view, KvView if k == "4" else GraphView))
        assert app.view is graph
        assert len(app.pane.stack) == 2


async def test_another_context_is_another_picture(
    daemon: StandIn, socket_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = StandIn()
    other.graphs.pop("hello_world")
    path = socket_path.with_name("other")
    await other.start(path)
    contexts = tmp_path / "contexts.json"
    contexts.write_text(json.dumps({"contexts": {"lab": {"socket": str(path)}}}))
    monkeypatch.setenv("DYNAMOD_CONFIG", str(contexts))
    async with dashboard(socket_path, graph="agg_router") as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("colon", *"context l", "tab", "enter")
        await until(pilot, lambda: pilot.app.context.name == "local" or "lab" in screen_text(pilot))
        await pilot.press("colon", *"context lab", "enter")
        await until(pilot, lambda: "lab" in screen_text(pilot).split("\n")[0] and "agg_router" in screen_text(pilot))
        assert "hello_world" not in screen_text(pilot)
    await other.stop()


async def test_keys_and_colours_come_from_a_file(daemon: StandIn, socket_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "dashboard.toml"
    path.write_text(
        'theme = "night"\n[keys]\n"app.kv" = "K"\n[themes.night]\nprimary = "#88c0d0"\nbackground = "#102030"\n'
    )
    async with dashboard(socket_path, graph="agg_router", settings=load_settings(path)) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        assert pilot.app.theme == "night"
        await pilot.press("4")
        await pilot.pause(0.1)
        assert isinstance(pilot.app.view, GraphView)
        await pilot.press("K")
        await until(pilot, lambda: isinstance(pilot.app.view, KvView))


def test_a_wrong_settings_file_names_the_place(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "absent.toml") == Settings()
    path = tmp_path / "dashboard.toml"
    path.write_text('[themes.x]\nprimary = "#fff"\ncolour = "red"\n')
    with pytest.raises(SettingsError, match=r"dashboard.toml: .*colour"):
        load_settings(path)
    path.write_text('[themes.x]\nprimary = "no colour"\n')
    with pytest.raises(SettingsError, match=r"dashboard.toml: a colour is written #rrggbb - at .*primary"):
        load_settings(path)
    path.write_text("theme = \n")
    with pytest.raises(SettingsError, match=r"dashboard.toml: .*line 1"):
        load_settings(path)


async def test_a_key_that_is_not_one_is_named(daemon: StandIn, socket_path: Path) -> None:
    settings = Settings(keys={"app.qiut": "Q", "plan.apply": "a"})
    async with dashboard(socket_path, settings=settings) as pilot:
        await until(pilot, lambda: "no key is called app.qiut" in screen_text(pilot))


async def test_pages_opened_in_one_breath_leave_one_on_top_and_may_be_drawn_meanwhile(
    daemon: StandIn, socket_path: Path
) -> None:
    async with dashboard(socket_path, size=(120, 40)) as pilot:
        app = pilot.app
        key = GraphKey("default", "agg_router")
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        app.open_replica(key, next(iter(daemon.replicas)))
        app.open_kv(key)
        app.open_metrics(key)
        async with asyncio.timeout(DEADLINE_S):
            while not isinstance(app.view, MetricsView):  # data arrives at every step of it
                app._show(frozenset(Topic))
                await asyncio.sleep(0)
        await until(pilot, lambda: "Frontend requests/s" in screen_text(pilot))
        assert list(app.query("View.-top")) == [app.view]
        assert [v.is_shown for v in app.pane.stack] == [False, False, False, True]


async def test_the_theme_command_changes_the_colours_and_names_the_themes(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("colon", *"theme gruvb", "tab", "enter")
        await until(pilot, lambda: pilot.app.theme == "gruvbox")
        await pilot.press("colon", *"theme nonsense", "enter")
        await until(pilot, lambda: "themes: " in screen_text(pilot))
        assert pilot.app.theme == "gruvbox"
