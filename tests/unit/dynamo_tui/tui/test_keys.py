"""Keys of tables, logs, charts and the prompt, and how one leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot

from dynamo_tui.tui.screens.graph import GraphView
from dynamo_tui.tui.screens.kv import KvView
from dynamo_tui.tui.screens.logs import LogsView
from dynamo_tui.tui.screens.metrics import MetricsView
from dynamo_tui.tui.screens.replica import ReplicaView
from dynamo_tui.tui.store import GraphKey
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn

KEY = GraphKey("default", "agg_router")


@asynccontextmanager
async def graph_page(socket_path: Path) -> AsyncIterator[Pilot[int]]:
    async with dashboard(socket_path, graph="agg_router", size=(120, 20)) as pilot:
        await until(pilot, lambda: "VllmWorker-2" in screen_text(pilot))
        yield pilot


async def test_a_table_by_every_key(daemon: StandIn, socket_path: Path) -> None:
    async with graph_page(socket_path) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "scaled up" in screen_text(pilot))
        table = pilot.app.view.table
        seqs = [e.seq for e in table.rows]
        for key, expected in (
            ("end", -1),
            ("up", -2),
            ("k", -3),
            ("down", -2),
            ("j", -1),
            ("home", 0),
            ("G", -1),
            ("g", 0),
            ("pagedown", -1),
            ("pageup", 0),
            ("ctrl+f", -1),
            ("ctrl+b", 0),
        ):
            await pilot.press(key)
            await until(pilot, lambda e=expected: table.row is not None and table.row.seq == seqs[e])


async def test_a_log_by_every_key(daemon: StandIn, socket_path: Path) -> None:
    async with graph_page(socket_path) as pilot:
        pilot.app.open_logs(KEY)
        await until(pilot, lambda: "r199 finished" in screen_text(pilot))
        view = pilot.app.view.log_view
        page = view.size.height - 1
        half = view.size.height // 2
        newest = view.buffer.end - 1
        for key, expected in (
            ("up", newest - 1),
            ("k", newest - 2),
            ("down", newest - 1),
            ("j", newest),
            ("pageup", newest - page),
            ("b", newest - 2 * page),
            ("ctrl+b", newest - 3 * page),
            ("pagedown", newest - 2 * page),
            ("space", newest - page),
            ("ctrl+f", newest),
            ("ctrl+u", newest - half),
            ("u", newest - 2 * half),
            ("ctrl+d", newest - half),
            ("d", newest),
            ("home", view.buffer.first),
            ("end", newest),
            ("g", view.buffer.first),
            ("G", newest),
        ):
            await pilot.press(key)
            await until(pilot, lambda e=expected: view.cursor == e)


async def test_matches_forth_and_back(daemon: StandIn, socket_path: Path) -> None:
    async with graph_page(socket_path) as pilot:
        pilot.app.open_logs(KEY)
        await until(pilot, lambda: "r199 finished" in screen_text(pilot))
        view = pilot.app.view.log_view
        await pilot.press("ctrl+s", *"block table", "enter")
        await until(pilot, lambda: not view.following)
        first = view.cursor
        await pilot.press("n")
        await until(pilot, lambda: view.cursor != first)
        await pilot.press("N")
        await until(pilot, lambda: view.cursor == first)


async def test_the_graph_page_leads_on(daemon: StandIn, socket_path: Path) -> None:
    async with graph_page(socket_path) as pilot:
        app = pilot.app
        view = app.view
        await pilot.press("tab")
        await until(pilot, lambda: view.replica_table.has_focus)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: view.only == "Frontend")
        await pilot.press("a")
        await until(pilot, lambda: view.only is None)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.view, LogsView))
        await pilot.press("backspace")
        await until(pilot, lambda: isinstance(app.view, GraphView))
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.view, KvView))


async def test_the_router_page_by_every_key(daemon: StandIn, socket_path: Path) -> None:
    async with graph_page(socket_path) as pilot:
        app = pilot.app
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.view, KvView) and "VllmWorker-1" in screen_text(pilot))
        view = app.view
        await pilot.press("plus")
        await until(pilot, lambda: "└-5m00s" in screen_text(pilot))
        await pilot.press("minus", "minus")
        await until(pilot, lambda: "└-30m" in screen_text(pilot))
        await pilot.press("p")
        await until(pilot, lambda: view.show_actual)
        await pilot.press("tab")
        await until(pilot, lambda: view.decisions_table.has_focus)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.view, LogsView) and app.view.replica_id == "agg_router-vllmworker-1")


async def test_the_chart_s_cursor_and_range(daemon: StandIn, socket_path: Path) -> None:
    async with graph_page(socket_path) as pilot:
        app = pilot.app
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.view, MetricsView) and "Frontend requests/s" in screen_text(pilot))
        await pilot.press("left", "h")
        await until(pilot, lambda: app.view.chart.cursor is not None)
        before = app.view.chart.cursor
        await pilot.press("right")
        await until(pilot, lambda: app.view.chart.cursor > before)
        await pilot.press("minus")
        await until(pilot, lambda: "└-15m" in screen_text(pilot))


async def test_the_replica_page_leads_on(daemon: StandIn, socket_path: Path) -> None:
    async with graph_page(socket_path) as pilot:
        app = pilot.app
        app.open_replica(KEY, "agg_router-vllmworker-1")
        await until(pilot, lambda: isinstance(app.view, ReplicaView))
        view = app.view
        await pilot.press("tab")
        await until(pilot, lambda: view.logs.log_view.has_focus)
        await pilot.press("tab")
        await until(pilot, lambda: not view.logs.log_view.has_focus)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.view, LogsView) and app.view.replica_id == "agg_router-vllmworker-1")


async def test_the_prompt_recalls_completes_and_gives_up(daemon: StandIn, socket_path: Path) -> None:
    async with graph_page(socket_path) as pilot:
        app = pilot.app
        typed = app.prompt.input
        await pilot.press("colon", *"graphs", "enter")
        await until(pilot, lambda: not app.prompt.is_open)
        await pilot.press("colon", *"events", "enter")
        await until(pilot, lambda: not app.prompt.is_open)
        await pilot.press("colon", "up")
        await until(pilot, lambda: typed.value == "events")
        await pilot.press("up")
        await until(pilot, lambda: typed.value == "graphs")
        await pilot.press("down")
        await until(pilot, lambda: typed.value == "events")
        await pilot.press("down", *"gp", "tab")
        await until(pilot, lambda: typed.value == "gpus ")
        await pilot.press("escape")
        await until(pilot, lambda: not app.prompt.is_open)


async def test_it_is_left_by_q_and_from_anywhere(daemon: StandIn, socket_path: Path) -> None:
    for key in ("q", "ctrl+q"):
        async with graph_page(socket_path) as pilot:
            await pilot.press(key)
            await until(pilot, lambda: not pilot.app.is_running or pilot.app._exit)


async def test_the_builds_page_has_two_parts(daemon: StandIn, socket_path: Path) -> None:
    async with graph_page(socket_path) as pilot:
        await pilot.press("8")
        await until(pilot, lambda: "agg_router:2" in screen_text(pilot))
        view = pilot.app.view
        await pilot.press("tab")
        await until(pilot, lambda: view.query_one("#build-scroll").has_focus)
        await pilot.press("tab")
        await until(pilot, lambda: view.table.has_focus)
