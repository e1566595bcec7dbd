"""Logs of several graphs, services and replicas at once, within a range of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from dynamo_tui.tui.log_feed import LogPart, LogQuery, without_overlap
from dynamo_tui.tui.screens.logs import LogsView
from dynamo_tui.tui.store import GraphKey
from dynamod.schema import LogLine
from tests.unit.dynamo_tui.tui import world
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn

ROUTER, HELLO = GraphKey("default", "agg_router"), GraphKey("default", "hello_world")


def line(replica: str, number: int, ago: float, text: str, level: str = "info") -> LogLine:
    service = next(r.service for r in world.REPLICAS if r.id == replica)
    return LogLine(t=world.NOW - ago, replica=replica, service=service, line=number, level=level, text=text)


def texts(view: LogsView) -> list[str]:
    """What is held, in order."""
    return [entry.text for _, entry in view.buffer.numbered(view.buffer.first) if isinstance(entry, LogLine)]


async def until_shown(pilot: Pilot[Any], *expected: str) -> LogsView:
    await until(pilot, lambda: isinstance(pilot.app.view, LogsView) and texts(pilot.app.view) == list(expected))
    return pilot.app.view


async def test_marked_graphs_are_merged_by_time_and_followed(daemon: StandIn, socket_path: Path) -> None:
    router, hello = "agg_router-router-1", "hello_world-middle-1"
    daemon.lines = [
        line(router, 1, 30, "first"),
        line(hello, 1, 20, "second"),
        line(router, 2, 10, "third"),
        line(hello, 2, 5, "fourth", "error"),
    ]
    async with dashboard(socket_path, size=(120, 30)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("space", "space")
        await until(pilot, lambda: screen_text(pilot).count("◆") == 2)
        await pilot.press("l")
        view = await until_shown(pilot, "first", "second", "third", "fourth")
        assert "2 selected" in screen_text(pilot)
        await until(pilot, lambda: "hello_world/Middle-1" in screen_text(pilot))
        assert "agg_router/Router-1" in screen_text(pilot)
        await daemon.write(line(router, 3, 2, "sixth"), line(hello, 3, 3, "fifth"))
        await until_shown(pilot, "first", "second", "third", "fourth", "fifth", "sixth")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.view is not view)
        await daemon.write(line(router, 4, 1, "seventh"))
        # What was written while the page was covered comes once it is back, and nothing comes twice.
        pilot.app.open_selected_logs(view.parts)
        await until_shown(pilot, "first", "second", "third", "fourth", "fifth", "sixth", "seventh")
        await pilot.press("ctrl+e")
        await until(pilot, lambda: "revisions are of one graph" in screen_text(pilot))


async def test_marked_services_and_replicas_of_a_graph_are_one_log(daemon: StandIn, socket_path: Path) -> None:
    daemon.lines = [
        line("agg_router-router-1", 1, 30, "of the router"),
        line("agg_router-vllmworker-1", 1, 20, "of a worker"),
        line("agg_router-vllmworker-2", 1, 10, "of another worker"),
    ]
    async with dashboard(socket_path, graph="agg_router", size=(120, 36)) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        view = pilot.app.view
        view.services.move_to(2)
        await pilot.press("space")
        await until(pilot, lambda: len(view.services.marked) == 1)
        await pilot.press("tab")
        view.replica_table.move_to_key("agg_router-vllmworker-2")
        await pilot.press("space", "l")
        await until_shown(pilot, "of the router", "of another worker")
        await pilot.press("p")
        await until(pilot, lambda: "only replicas:" in screen_text(pilot))
        await pilot.press(*"vll", "tab", "enter")
        await until_shown(pilot, "of another worker")
        assert "1 of the replicas" in screen_text(pilot)
        await pilot.press("p", *"Nobody", "enter")
        await until(pilot, lambda: "there is no Nobody here" in screen_text(pilot))
        await pilot.press("p", "enter")
        await until_shown(pilot, "of the router", "of another worker")


async def test_a_range_of_time_is_asked_of_the_daemon(daemon: StandIn, socket_path: Path) -> None:
    one = "agg_router-router-1"
    daemon.lines = [line(one, n, 600 - n * 60, f"{n} minutes in") for n in range(11)]
    async with dashboard(socket_path, size=(120, 30)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        pilot.app.open_logs(ROUTER)
        await until(pilot, lambda: "10 minutes in" in screen_text(pilot))
        await pilot.press("i", *"5m..14:11", "enter")
        await until_shown(pilot, "5 minutes in", "6 minutes in", "7 minutes in")
        assert "14:08:20..14:11:00" in screen_text(pilot)
        await pilot.press("i")
        await until(pilot, lambda: pilot.app.prompt.input.value == "14:08:20..14:11:00")
        pilot.app.prompt.input.value = "14:11..14:08"
        await pilot.press("enter")
        await until(pilot, lambda: "ends before it begins" in screen_text(pilot))
        await pilot.press("i")
        pilot.app.prompt.input.value = "yesterday"
        await pilot.press("enter")
        await until(pilot, lambda: "'yesterday' is neither" in screen_text(pilot))
        await pilot.press("i")
        pilot.app.prompt.input.value = ""
        await pilot.press("enter")
        await until(pilot, lambda: len(texts(pilot.app.view)) == 11)


async def test_older_lines_of_several_parts_come_without_holes(daemon: StandIn, socket_path: Path) -> None:
    busy, calm = "agg_router-router-1", "hello_world-middle-1"
    daemon.lines = sorted(
        [line(busy, n, 4_000 - n, f"busy {n}") for n in range(4_000)]
        + [line(calm, n, 4_000 - n * 10, f"calm {n}") for n in range(400)],
        key=lambda entry: entry.t,
    )
    async with dashboard(socket_path, size=(120, 30)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        pilot.app.open_selected_logs([LogPart(ROUTER, replica=busy), LogPart(HELLO, replica=calm)])
        await until(pilot, lambda: "busy 3999" in screen_text(pilot))
        view = pilot.app.view
        for _ in range(8):
            before = len(view.buffer)
            await pilot.press("g", "k")
            await until(pilot, lambda held=before: len(view.buffer) > held or len(view.buffer) == 4_400)
        await until(pilot, lambda: len(view.buffer) == 4_400)
        held = [entry for _, entry in view.buffer.numbered(view.buffer.first) if isinstance(entry, LogLine)]
        for replica, count in ((busy, 4_000), (calm, 400)):
            assert sorted(e.line for e in held if e.replica == replica) == list(range(count))


def test_parts_that_others_hold_are_left_out() -> None:
    service, replica = LogPart(ROUTER, "Router"), LogPart(ROUTER, "Router", "agg_router-router-1")
    other = LogPart(HELLO, "Middle", "hello_world-middle-1")
    assert without_overlap([service, replica, other, other]) == (service, other)
    assert without_overlap([replica, LogPart(ROUTER), service, other]) == (LogPart(ROUTER), other)


def test_ranges_are_typed() -> None:
    query = LogQuery(level="info")
    assert query.with_range("", world.NOW) == query
    assert query.with_range("2h..", world.NOW).since == world.NOW - 7_200
    assert query.with_range("..90s", world.NOW).until == world.NOW - 90
    with pytest.raises(ValueError, match="neither a time"):
        query.with_range("5m..soon", world.NOW)
