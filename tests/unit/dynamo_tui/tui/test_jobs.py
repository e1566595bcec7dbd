"""Commands that take a while: started from the dashboard, shown as they print, and cancelled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dynamo_tui.client.contexts import Context
from dynamo_tui.tui.dialogs.confirm import Confirm
from dynamo_tui.tui.jobs import Job, JobState
from dynamo_tui.tui.screens.jobs import JobsView
from tests.unit.dynamo_tui.tui.conftest import DEADLINE_S, dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn


async def test_a_build_that_fails_says_why(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(120, 36)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("8")
        await until(pilot, lambda: "agg_router:2" in screen_text(pilot))
        await pilot.press("b")
        await until(pilot, lambda: app.prompt.is_open and app.prompt.input.value == "build ")
        await pilot.press(*"no_such_module:Front", "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await until(pilot, lambda: "$ dynamoctl build no_such_module:Front" in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.view, JobsView) and "failed after" in screen_text(pilot))
        assert "no_such_module" in "\n".join(app.jobs[0].lines)
        await pilot.press("c")
        await until(pilot, lambda: "that is not running" in screen_text(pilot))


async def test_a_command_runs_on_behind_other_pages_and_is_cancelled(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(120, 36)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        app.start_job(Job(["wait", "agg_router", "--for", "stopped"], app.context))
        await until(pilot, lambda: isinstance(app.view, JobsView) and "running" in screen_text(pilot))
        await pilot.press("1")
        await until(pilot, lambda: "◐ 1 running" in screen_text(pilot).split("\n")[0])
        # It is on the daemon that the tab looks at.
        await until(pilot, lambda: daemon.open_streams.count("/v1/events/stream") == 2)
        await pilot.press("9")
        await until(pilot, lambda: isinstance(app.view, JobsView))
        await pilot.press("tab", "tab", "c")
        await until(pilot, lambda: "cancelled after" in screen_text(pilot))
        await until(pilot, lambda: daemon.open_streams.count("/v1/events/stream") == 1)


@pytest.mark.parametrize(
    ("keys", "command"),
    [
        (["o"], "dynamoctl deploy agg_router:2 --target local"),
        (["i"], "dynamoctl containerize agg_router:2"),
    ],
)
async def test_builds_are_deployed_and_made_into_images(
    daemon: StandIn, socket_path: Path, keys: list[str], command: str
) -> None:
    async with dashboard(socket_path, size=(120, 36)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("8")
        await until(pilot, lambda: "agg_router:2" in screen_text(pilot))
        await pilot.press(*keys)
        if app.prompt.is_open:
            await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and f"$ {command}" in screen_text(pilot))
        await pilot.press("n")
        await until(pilot, lambda: not isinstance(app.screen, Confirm))
        assert app.jobs == []


async def test_a_read_only_dashboard_starts_nothing(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, read_only=True) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("colon", *"deploy x:Y", "enter")
        await until(pilot, lambda: ":deploy changes something" in screen_text(pilot))
        await pilot.press("8")
        await until(pilot, lambda: "agg_router:2" in screen_text(pilot))
        await pilot.press("i")
        await until(pilot, lambda: "this dashboard is read-only" in screen_text(pilot))
        assert pilot.app.jobs == []


async def test_a_dashboard_that_closes_ends_what_it_started(daemon: StandIn, socket_path: Path) -> None:
    job = Job(["wait", "agg_router", "--for", "stopped"], Context(socket=str(socket_path)))
    running = asyncio.create_task(job.run(lambda: None))
    async with asyncio.timeout(DEADLINE_S):
        while "/v1/events/stream" not in daemon.open_streams:
            await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert job.state is JobState.CANCELLED
        while daemon.open_streams:
            await asyncio.sleep(0.02)
