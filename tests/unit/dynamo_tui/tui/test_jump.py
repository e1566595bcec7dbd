"""Jump mode: letters over everything that can be selected."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Label

from dynamo_tui.tui.dialogs.jump import Jump
from dynamo_tui.tui.jumping import labels
from dynamo_tui.tui.screens.events import EventsView
from dynamo_tui.tui.screens.graph import GraphView
from dynamo_tui.tui.screens.graphs import GraphsView
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn


def test_labels_are_as_short_as_they_can_be_and_none_begins_another() -> None:
    assert labels(3) == ["a", "s", "d"]
    many = labels(60)
    assert len(set(many)) == 60
    assert {len(label) for label in many} == {2}


async def test_a_letter_goes_to_the_row_under_it(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(120, 36)) as pilot:
        app = pilot.app
        # Laid out: five services above seven replicas.
        await until(pilot, lambda: "84.0%" in screen_text(pilot) and app.view.services.size.height == 6)
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot) and "REPLICA" in screen_text(pilot))
        await pilot.press("semicolon")
        await until(pilot, lambda: isinstance(app.screen, Jump) and len(app.screen.query(Label)) == 12)
        # Five services, then seven replicas: f d s a over the first four, and so on.
        wanted = labels(12)[5 + 4]
        await pilot.press(wanted)
        await until(pilot, lambda: not isinstance(app.screen, Jump) and app.view.replica_table.has_focus)
        assert app.view.replica_table.row.id == "agg_router-vllmworker-2"


async def test_escape_jumps_nowhere(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(120, 36)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        focused = app.focused
        for key in ("escape", "semicolon", "m"):
            await pilot.press("semicolon")
            await until(pilot, lambda: isinstance(app.screen, Jump))
            await pilot.press(key)
            await until(pilot, lambda: not isinstance(app.screen, Jump))
        assert app.focused is focused
        assert isinstance(app.view, GraphView)


async def test_two_letters_where_there_are_many_and_backspace_starts_anew(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(160, 60)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("backslash")
        await until(pilot, lambda: isinstance(app.view, GraphsView))
        await pilot.press("7", "ctrl+o", "4")
        await until(pilot, lambda: len(app.views) == 2 and isinstance(app.views[1], EventsView))
        await until(pilot, lambda: len(app.views[0].query_one("#decisions").rows) > 15)
        await pilot.press("semicolon")
        await until(pilot, lambda: isinstance(app.screen, Jump) and len(app.screen.query(Label)) > 26)
        await pilot.press("s")
        await until(pilot, lambda: not all(mark.display for mark in app.screen.query(Label)))
        await pilot.press("backspace")
        await until(pilot, lambda: all(mark.display for mark in app.screen.query(Label)))
        last = labels(len(app.screen.query(Label)))[-1]
        await pilot.press(*last)
        await until(pilot, lambda: isinstance(app.view, EventsView) and app.view.table.has_focus)


async def test_tabs_have_letters_too_and_can_be_clicked(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(120, 36)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "▸2 graphs" in screen_text(pilot))
        await pilot.press("semicolon")
        await until(pilot, lambda: isinstance(app.screen, Jump))
        await pilot.press("a")
        await until(pilot, lambda: "▸1 graphs › agg_router" in screen_text(pilot) and isinstance(app.view, GraphView))
        await pilot.click("TabStrip", offset=(28, 0))
        await until(pilot, lambda: isinstance(app.view, GraphsView))
