"""Keys of the log that change how lines are shown, and those that take lines out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from dynamo_tui.tui.screens.logs import LogsView
from dynamo_tui.tui.store import GraphKey
from dynamo_tui.tui.widgets.log_view import without_own_time
from dynamod.schema import LogLine
from tests.unit.dynamo_tui.tui import world
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn

T = 1_790_000_000.0
STAMP = "2026-09-21T14:13:20.000Z "
KEY = GraphKey("default", "agg_router")


def line(number: int, text: str, *, level: str = "info", t: float = world.NOW) -> LogLine:
    replica = world.REPLICAS[0].id
    return LogLine(t=t, replica=replica, service="Frontend", line=number, level=level, text=text)


async def open_log(pilot: Pilot[Any], last: str) -> LogsView:
    await until(pilot, lambda: KEY in pilot.app.store.graphs)
    pilot.app.open_logs(KEY)
    await until(pilot, lambda: isinstance(pilot.app.view, LogsView) and last in screen_text(pilot))
    return pilot.app.view


def test_a_line_says_its_time_once() -> None:
    assert without_own_time(STAMP + "INFO x: ready", T) == "INFO x: ready"
    assert without_own_time(STAMP + "INFO x: ready", T + 60) == STAMP + "INFO x: ready"
    assert without_own_time("2026-99-21T14:13:20.000Z x", T) == "2026-99-21T14:13:20.000Z x"
    assert without_own_time("no time", T) == "no time"


async def test_times_are_shown_once_and_turned_off(daemon: StandIn, socket_path: Path) -> None:
    daemon.lines = [line(1, STAMP + "INFO dynamo.sdk: the first line")]
    async with dashboard(socket_path, size=(120, 30)) as pilot:
        await open_log(pilot, "the first line")
        assert "14:13:20.000" in screen_text(pilot)
        assert STAMP not in screen_text(pilot)
        await pilot.press("T")
        await until(pilot, lambda: STAMP + "INFO dynamo.sdk: the first line" in screen_text(pilot))
        await pilot.press("T")
        await until(pilot, lambda: STAMP not in screen_text(pilot))


async def test_lines_and_the_screen_are_copied(daemon: StandIn, socket_path: Path) -> None:
    daemon.lines = [line(1, STAMP + "one"), line(2, "two"), line(3, "three")]
    async with dashboard(socket_path, size=(120, 30)) as pilot:
        view = await open_log(pilot, "three")
        await pilot.press("k", "y")
        await until(pilot, lambda: pilot.app.clipboard.endswith(" two"))
        assert pilot.app.clipboard.startswith("14:13:20.000 ")
        await pilot.press("Y")
        await until(pilot, lambda: pilot.app.clipboard == view.log_view.visible_text())
        assert [copied.split()[-1] for copied in pilot.app.clipboard.splitlines()] == ["one", "two", "three"]


async def test_long_lines_are_scrolled_to_the_side(daemon: StandIn, socket_path: Path) -> None:
    daemon.lines = [line(1, "begin " + "x" * 150 + " end")]
    async with dashboard(socket_path, size=(100, 30)) as pilot:
        await open_log(pilot, "begin")
        assert "x end" not in screen_text(pilot)
        await pilot.press(*["right"] * 12)
        await until(pilot, lambda: "x end" in screen_text(pilot))
        assert "begin" not in screen_text(pilot)
        await pilot.press(*["h"] * 13)
        await until(pilot, lambda: "begin" in screen_text(pilot))


async def test_the_first_error_since_a_revision_is_fetched_and_shown(daemon: StandIn, socket_path: Path) -> None:
    began = world.NOW - 2_000  # the revision is 900 seconds old
    daemon.lines = [line(n, f"line {n} ok", t=began + n / 2) for n in range(4_000)]
    daemon.lines[100] = line(100, "an error before it", level="error", t=began + 50)
    daemon.lines[2_300] = line(2_300, "the first error since", level="error", t=began + 1_150)
    daemon.lines[3_500] = line(3_500, "a later error", level="error", t=began + 1_750)
    async with dashboard(socket_path, size=(120, 30)) as pilot:
        view = await open_log(pilot, "line 3999")
        assert view.log_view.following
        assert len(view.buffer) == 1_000
        await pilot.press("ctrl+e")
        await until(pilot, lambda: "first error since revision" in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "the first error since" in screen_text(pilot))
        assert view.log_view.current.text == "the first error since"
        lines = [entry.line for _, entry in view.buffer.numbered(view.buffer.first)]
        assert lines == list(range(lines[0], 4_000))


async def test_no_error_since_a_revision_is_said(daemon: StandIn, socket_path: Path) -> None:
    daemon.lines = [line(1, "all is well")]
    async with dashboard(socket_path, size=(120, 30)) as pilot:
        await open_log(pilot, "all is well")
        await pilot.press("ctrl+e", "enter")
        await until(pilot, lambda: "no error since revision" in screen_text(pilot))


async def test_lines_that_a_flood_pushed_out_are_not_drawn(daemon: StandIn, socket_path: Path) -> None:
    """What is on screen may leave the buffer before its owner says so: drawing starts over from what is held."""
    async with dashboard(socket_path, size=(100, 24)) as pilot:
        await daemon.write(*(line(n, f"early {n}") for n in range(30)))
        view = await open_log(pilot, "early 29")
        buffer = view.log_view.buffer
        assert "early 29" in view.log_view.visible_text()
        buffer.limit = 1
        buffer.extend([line(n, f"late {n}") for n in range(30, 40_000)])
        assert buffer.first > 30
        assert "late 39999" in view.log_view.render_line(view.log_view.size.height - 1).text
        assert "early" not in view.log_view.visible_text()
