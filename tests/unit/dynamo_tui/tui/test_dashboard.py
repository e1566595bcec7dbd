"""The first screens, driven by keys against a daemon on a real socket."""

from __future__ import annotations

from pathlib import Path

import msgspec

from dynamo_tui.tui.screens.graph import GraphView
from dynamo_tui.tui.screens.graphs import GraphsView
from dynamo_tui.tui.screens.kv import KvView
from dynamo_tui.tui.screens.logs import LogsView
from dynamo_tui.tui.store import GraphKey, Link
from dynamod.schema import Action, Event, Reason, ReplicaState
from tests.unit.dynamo_tui.tui import kv_world, world
from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn

ROUTER = GraphKey("default", "agg_router")


async def test_home_shows_graphs_with_trouble_first(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        text = screen_text(pilot)
        assert text.index("hello_world") < text.index("agg_router")
        assert "replicas unready: Backend 0/1" in text
        assert "● live" in text


async def test_drills_from_graphs_to_a_graph_to_logs_and_back(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path) as pilot:
        app = pilot.app
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.view, GraphView) and "VllmWorker-4" in screen_text(pilot))
        await until(pilot, lambda: "84.0%" in screen_text(pilot))
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.view, LogsView))
        assert app.view.service == "Frontend"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.view, GraphView))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.view, GraphsView))
        await pilot.press("escape")
        assert isinstance(app.view, GraphsView)


async def test_streams_run_only_while_their_page_is_shown(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await until(pilot, lambda: daemon.open_streams == ["/v1/events/stream"])
        await pilot.press("down", "v")
        await until(pilot, lambda: "/v1/graphs/agg_router/kv/stream" in daemon.open_streams)
        await pilot.press("3")
        await until(pilot, lambda: "/v1/graphs/agg_router/logs/stream" in daemon.open_streams)
        await until(pilot, lambda: len(daemon.open_streams) == 2)
        await pilot.press("1")
        await until(pilot, lambda: daemon.open_streams == ["/v1/events/stream"])


async def test_an_event_changes_the_picture(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, graph="hello_world", size=(120, 30)) as pilot:
        await until(pilot, lambda: "Backend-1" in screen_text(pilot))
        assert "backing off: exited with code 1" in screen_text(pilot)
        ready = msgspec.structs.replace(
            daemon.replicas["hello_world-backend-1"],
            state=ReplicaState.READY,
            reason=Reason.PROBE_SUCCEEDED,
            message="",
            next_retry_at=None,
        )
        event = Event(
            seq=101,
            at=world.at(0),
            actor="engine",
            action=Action.REPLICA_STATE,
            project="default",
            graph="hello_world",
            replica=ready.id,
            data=msgspec.to_builtins(ready),
        )
        await daemon.emit(event)
        await until(pilot, lambda: "backing off" not in screen_text(pilot))


async def test_a_lost_daemon_leaves_the_picture_and_its_return_resumes(socket_path: Path) -> None:
    daemon = StandIn()
    await daemon.start(socket_path)
    async with dashboard(socket_path) as pilot:
        app = pilot.app
        await until(pilot, lambda: app.store.link is Link.LIVE)
        await daemon.stop()
        await until(pilot, lambda: "disconnected" in screen_text(pilot))
        assert "agg_router" in screen_text(pilot)
        missed = Event(
            seq=101,
            at=world.at(0),
            actor="engine",
            action=Action.GRAPH_REMOVED,
            project="default",
            graph="hello_world",
        )
        daemon.events.append(missed)
        await daemon.start(socket_path)
        await until(pilot, lambda: "hello_world" not in screen_text(pilot))
        assert "disconnected" not in screen_text(pilot)
        await daemon.stop()


async def test_without_a_daemon_it_says_so(socket_path: Path) -> None:
    from dynamo_tui.client.contexts import Context
    from dynamo_tui.tui.app import Dashboard

    app = Dashboard(Context(socket=str(socket_path)))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "no daemon answers" in screen_text(pilot))


async def test_kv_page_shows_rates_load_and_decisions(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path, size=(120, 36)) as pilot:
        app = pilot.app
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("down", "v")
        await until(pilot, lambda: isinstance(app.view, KvView) and "VllmWorker-4" in screen_text(pilot))
        text = screen_text(pilot)
        snapshot = kv_world.kv_snapshot()
        assert f"{snapshot.predicted.ratio_of_sums * 100:.1f}%" in text
        assert "104/128" in text
        feed = app.store.kv_feed(ROUTER)
        assert len(feed.predicted[""].points) > 100
        daemon.decisions = 41
        await daemon.moved()
        await until(pilot, lambda: feed.decisions[-1].seq == 41)
        await pilot.press("p")
        await until(pilot, lambda: "actual 88" in screen_text(pilot))


async def test_filter_narrows_and_escape_clears(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("slash", *"hello")
        await until(pilot, lambda: "agg_router" not in screen_text(pilot))
        await pilot.press("enter")
        await pilot.press("escape")
        await until(pilot, lambda: "agg_router" in screen_text(pilot))


async def test_log_filter_is_the_daemons(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path) as pilot:
        app = pilot.app
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("down", "l")
        await until(pilot, lambda: "r199 finished" in screen_text(pilot))
        await pilot.press("slash", *"pressure", "enter")
        await until(pilot, lambda: "cache pressure" in screen_text(pilot) and "finished" not in screen_text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: "r199 finished" in screen_text(pilot))
        await pilot.press("e", "e", "e")
        await until(pilot, lambda: "level ≥ warning" in screen_text(pilot) and "finished" not in screen_text(pilot))
        assert isinstance(app.view, LogsView)


async def test_logs_pause_find_mark_and_follow(daemon: StandIn, socket_path: Path) -> None:
    async with dashboard(socket_path) as pilot:
        app = pilot.app
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("down", "l")
        await until(pilot, lambda: "r199 finished" in screen_text(pilot))
        await pilot.press("g")
        await until(pilot, lambda: "paused" in screen_text(pilot) and "r0 finished" in screen_text(pilot))
        await daemon.write(world.log_line(200, world.NOW))
        await until(pilot, lambda: "of 201" in screen_text(pilot))
        assert "r0 finished" in screen_text(pilot)
        await pilot.press("ctrl+s", *"r150", "enter")
        await until(pilot, lambda: "r150 finished" in screen_text(pilot))
        await pilot.press("m")
        await until(pilot, lambda: "1 bookmarks" in screen_text(pilot))
        await pilot.press("f")
        await until(pilot, lambda: "following" in screen_text(pilot) and "r200 finished" in screen_text(pilot))
        await pilot.press("apostrophe")
        await until(pilot, lambda: "r150 finished" in screen_text(pilot))
        await pilot.press("E")
        await until(pilot, lambda: app.view.log_view.current.level == "error")
        await pilot.press("w")
        await until(pilot, lambda: "wrap" in screen_text(pilot))


async def test_logs_are_saved_to_a_file(daemon: StandIn, socket_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.log"
    async with dashboard(socket_path) as pilot:
        await until(pilot, lambda: "agg_router" in screen_text(pilot))
        await pilot.press("down", "l")
        await until(pilot, lambda: "r199 finished" in screen_text(pilot))
        await pilot.press("s")
        pilot.app.prompt.input.value = str(target)
        await pilot.press("enter")
        await until(pilot, target.exists)
        await until(pilot, lambda: len(target.read_text().splitlines()) == 200)
        assert "VllmWorker-1 request r0 finished" in target.read_text().splitlines()[0]
