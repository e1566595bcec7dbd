"""`t` on a daemon: every page as it was, what has no history missing, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from dynamo_tui.tui import figures
from dynamo_tui.tui.screens.kv import KvView
from dynamo_tui.tui.screens.metrics import MetricsView
from dynamo_tui.tui.store import Link
from dynamod.schema import Action, Event, Reason, ReplicaState
from tests.unit.dynamo_tui.tui import world
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn

CLOCK = figures.clock(world.NOW)


def story() -> list[Event]:
    """Worker 2 was lost 130 seconds ago, for half a minute."""
    worker = next(r for r in world.REPLICAS if r.id == "agg_router-vllmworker-2")

    def event(seq: int, ago: float, state: ReplicaState) -> Event:
        return Event(
            seq=seq,
            at=world.at(ago),
            actor="engine",
            action=Action.REPLICA_STATE,
            project="default",
            graph="agg_router",
            service="VllmWorker",
            replica=worker.id,
            reason=Reason.KILLED_BY_SIGNAL if state is ReplicaState.LOST else Reason.PROBE_SUCCEEDED,
            data=msgspec.to_builtins(msgspec.structs.replace(worker, state=state)),
        )

    return [event(94, 300, ReplicaState.READY), event(95, 130, ReplicaState.LOST), event(96, 100, ReplicaState.READY)]


@pytest.fixture
async def daemon(socket_path: Path) -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    stand_in.events = sorted([*stand_in.events, *story()], key=lambda e: e.seq)
    await stand_in.start(socket_path)
    yield stand_in
    await stand_in.stop()


@asynccontextmanager
async def in_the_past(socket_path: Path, **options: Any) -> AsyncIterator[Pilot[int]]:
    async with dashboard(socket_path, graph="agg_router", size=(120, 36), **options) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot) and "84.0%" in screen_text(pilot))
        await pilot.press("t")
        await until(pilot, lambda: f"as it was at {CLOCK}" in screen_text(pilot))
        yield pilot


def shows_at(pilot: Pilot[int], ago: float) -> bool:
    return f"as it was at {figures.clock(world.NOW - ago)}" in screen_text(pilot)


async def test_the_arrows_step_and_the_page_shows_what_was(daemon: StandIn, socket_path: Path) -> None:
    async with in_the_past(socket_path) as pilot:
        assert "◂ past" in screen_text(pilot)
        assert "4/4" in screen_text(pilot)
        await pilot.press("shift+left", "shift+left")
        await until(
            pilot, lambda: shows_at(pilot, 120) and "3/4" in screen_text(pilot) and "lost" in screen_text(pilot)
        )
        await until(pilot, lambda: ", 2m00s ago" in screen_text(pilot))
        await pilot.press("right", "right")
        await until(pilot, lambda: shows_at(pilot, 100) and "4/4" in screen_text(pilot))
        await pilot.press("ctrl+left")
        await until(pilot, lambda: shows_at(pilot, 700))
        await pilot.press("ctrl+right", "shift+right", "home")
        await until(pilot, lambda: shows_at(pilot, 7_500) and "no replicas" not in screen_text(pilot))
        await pilot.press("end")
        await until(pilot, lambda: shows_at(pilot, 0))


async def test_what_failed_is_found_from_the_time_bar(daemon: StandIn, socket_path: Path) -> None:
    async with in_the_past(socket_path) as pilot:
        assert "✗" in screen_text(pilot).split("\n")[1]
        await pilot.press("left", "left")
        await until(pilot, lambda: shows_at(pilot, 20))
        await pilot.press("left_parenthesis")
        await until(pilot, lambda: shows_at(pilot, 130) and "3/4" in screen_text(pilot))
        await pilot.press("left_parenthesis")
        await until(pilot, lambda: "nothing failed before" in screen_text(pilot))
        await pilot.press("right_parenthesis")
        await until(pilot, lambda: shows_at(pilot, 14))


async def test_escape_and_t_go_back_to_live(daemon: StandIn, socket_path: Path) -> None:
    async with in_the_past(socket_path) as pilot:
        app = pilot.app
        for key in ("escape", "t"):
            await pilot.press("left")
            await until(pilot, lambda: shows_at(pilot, 10))
            await pilot.press(key)
            await until(pilot, lambda: "● live" in screen_text(pilot) and "as it was" not in screen_text(pilot))
            await until(pilot, lambda: "84.0%" in screen_text(pilot))
            assert app.store.link is Link.LIVE
            await pilot.press("t")
            await until(pilot, lambda: shows_at(pilot, 0))


async def test_a_key_of_the_bar_enters_the_past_and_a_command_names_a_time(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="agg_router", size=(120, 36)) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await pilot.press("less_than_sign")
        await until(pilot, lambda: shows_at(pilot, 60))
        await pilot.press("comma", "full_stop", "greater_than_sign", "left_curly_bracket")
        await until(pilot, lambda: shows_at(pilot, 600))
        await pilot.press("right_curly_bracket")
        await until(pilot, lambda: shows_at(pilot, 0))
        await pilot.press("colon", *"past 2m", "enter")
        await until(pilot, lambda: shows_at(pilot, 120) and "3/4" in screen_text(pilot))
        await pilot.press("colon", *"past noon", "enter")
        await until(pilot, lambda: "neither a time of day" in screen_text(pilot))
        await pilot.press("colon", *"live", "enter")
        await until(pilot, lambda: "● live" in screen_text(pilot))


async def test_arrows_are_for_typing_while_something_is_typed(daemon: StandIn, socket_path: Path) -> None:
    async with in_the_past(socket_path) as pilot:
        await pilot.press("slash", *"ab", "left", "home", *"c", "enter")
        await until(pilot, lambda: "/cab" in screen_text(pilot))
        assert shows_at(pilot, 0)


async def test_nothing_can_be_changed_in_the_past(daemon: StandIn, socket_path: Path) -> None:
    async with in_the_past(socket_path) as pilot:
        await pilot.press("r")
        await until(pilot, lambda: "this is the past" in screen_text(pilot))
        assert daemon.requests == []


async def test_figures_come_from_the_metrics_that_are_kept(daemon: StandIn, socket_path: Path) -> None:
    async with in_the_past(socket_path) as pilot:
        app = pilot.app
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.view, MetricsView) and "Frontend requests/s" in screen_text(pilot))
        await pilot.press("shift+left")
        await until(pilot, lambda: shows_at(pilot, 60) and "Frontend requests/s" in screen_text(pilot))
        track = app.store.rate_track(app.view.key, ("Frontend", None), "requests_per_s")
        assert max(t for t, _ in track.points) <= world.NOW - 60


async def test_hit_rates_have_a_history_and_what_workers_held_has_none(daemon: StandIn, socket_path: Path) -> None:
    async with in_the_past(socket_path) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: isinstance(pilot.app.view, KvView) and "VllmWorker-1" in screen_text(pilot))
        row = next(line for line in screen_text(pilot).split("\n") if "━ VllmWorker-1" in line)
        assert "412" not in row  # the load of now
        assert row.count("—") >= 4
        assert "no routing decision" in screen_text(pilot)


async def test_logs_end_at_the_time_that_is_shown(daemon: StandIn, socket_path: Path) -> None:
    async with in_the_past(socket_path) as pilot:
        pilot.app.open_logs(pilot.app.view.key)
        await until(pilot, lambda: "r199 finished" in screen_text(pilot))
        await pilot.press("left")
        await until(pilot, lambda: "r150 finished" in screen_text(pilot) and "r151 " not in screen_text(pilot))
        assert "up to then" in screen_text(pilot)
        await pilot.press("t")
        await until(pilot, lambda: "following" in screen_text(pilot) and "r199 finished" in screen_text(pilot))


async def test_a_replica_says_what_the_daemon_cannot_explain_any_more(daemon: StandIn, socket_path: Path) -> None:
    async with in_the_past(socket_path) as pilot:
        await pilot.press("shift+left", "shift+left")
        await until(pilot, lambda: shows_at(pilot, 120))
        pilot.app.open_replica(pilot.app.view.key, "agg_router-vllmworker-2")
        await until(pilot, lambda: "lost" in screen_text(pilot) and "keeps no history of this" in screen_text(pilot))


async def test_gpus_show_the_claims_of_then_alone(daemon: StandIn, socket_path: Path) -> None:
    async with in_the_past(socket_path) as pilot:
        await pilot.press("6")
        shown = ("have no history", "agg_router/VllmWorker-1")
        await until(pilot, lambda: all(words in screen_text(pilot) for words in shown))
        text = screen_text(pilot)
        assert "foreign" not in text
        assert "leak" not in text


async def test_events_end_at_the_time_that_is_shown(daemon: StandIn, socket_path: Path) -> None:
    async with in_the_past(socket_path) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "backing off" in screen_text(pilot))
        await pilot.press("left")
        await until(
            pilot, lambda: "exited with error" in screen_text(pilot) and "backing off" not in screen_text(pilot)
        )
        await pilot.press("8")
        await until(pilot, lambda: "keeps no history of this" in screen_text(pilot))


async def test_a_daemon_that_is_away_has_no_past(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(120, 36)) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await daemon.stop()
        await pilot.press("t")
        await until(pilot, lambda: "time travel" in screen_text(pilot))
        assert pilot.app.session.travel is None


def test_a_time_is_read_as_people_write_it() -> None:
    assert figures.parse_moment("90s", 1_000.0) == 910.0
    assert figures.parse_moment(figures.clock(world.NOW - 60), world.NOW) == world.NOW - 60
    later = figures.parse_moment(figures.clock(world.NOW + 60), world.NOW)
    assert later == world.NOW + 60 - 86_400
    assert figures.parse_moment("25:00", world.NOW) is None
    assert figures.parse_moment("soon", world.NOW) is None
