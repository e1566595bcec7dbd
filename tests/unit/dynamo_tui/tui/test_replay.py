"""A recording of a daemon shows the same pages without it, and its clock can be set."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from dynamo_tui.client.aio import AsyncClient
from dynamo_tui.client.contexts import Context
from dynamo_tui.client.recording import Entry, Header, Recorder, Recording, RecordingError, entries_of, read_recording
from dynamo_tui.tui.app import Dashboard
from dynamo_tui.tui.replay import Replay
from dynamo_tui.tui.screens.kv import KvView
from dynamod.schema import Action, Event, ReplicaState
from tests.unit.dynamo_tui.tui import world
from tests.unit.dynamo_tui.tui.conftest import screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn


async def recorded(socket_path: Path, path: Path) -> Recording:
    """Record the stand-in's router graph until each of its feeds has said something."""
    async with AsyncClient(Context(socket=str(socket_path))) as client:
        recorder = Recorder(client, "agg_router", "default", path)
        needed = {"rates", "kv", "gpus", "line"}
        task = asyncio.create_task(recorder.run())
        async with asyncio.timeout(20):
            while not needed <= set(recorder.counts):
                await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    recording = read_recording(path)
    assert needed <= {e.kind for e in recording.entries}
    return recording


@pytest.mark.parametrize("name", ["run.dynrec", "run.dynrec.gz"])
async def test_a_recording_is_shown_without_the_daemon(
    daemon: StandIn, socket_path: Path, tmp_path: Path, name: str
) -> None:
    recording = await recorded(socket_path, tmp_path / name)
    await daemon.stop()
    replay = Replay(recording, name)
    replay.clock.set(recording.end)
    app = Dashboard(replay.context, graph="agg_router", read_only=True, replay=replay)
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot) and "84.0%" in screen_text(pilot))
        assert name in screen_text(pilot).split("\n")[0]
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.view, KvView) and "89.4%" in screen_text(pilot))
        await until(pilot, lambda: {"", *world.WORKERS} <= set(app.view.feed.predicted))
        await pilot.press("3")
        await until(pilot, lambda: "r199 finished" in screen_text(pilot))
        await pilot.press("6")
        await until(pilot, lambda: "1 foreign" in screen_text(pilot))


def with_a_failure() -> Recording:
    """Half a minute in which a worker is lost at the tenth second."""
    start = time.time()
    worker = next(r for r in world.REPLICAS if r.id == "agg_router-vllmworker-2")
    lost = msgspec.structs.replace(worker, state=ReplicaState.LOST)
    event = Event(
        seq=101,
        at=datetime.fromtimestamp(start + 10, UTC),
        actor="engine",
        action=Action.REPLICA_STATE,
        project="default",
        graph="agg_router",
        replica=worker.id,
        data=msgspec.to_builtins(lost),
    )
    entries = [Entry(start, "info", world.INFO), Entry(start, "graph", world.ROUTER_GRAPH)]
    entries += [Entry(start, "replica", r) for r in world.REPLICAS if r.graph == "agg_router"]
    entries += [Entry(start + 10, "event", event), Entry(start + 30, "rates", world.rates(world.ROUTER_GRAPH))]
    return Recording(Header(project="default", graph="agg_router", started=start), entries)


async def test_the_clock_is_set_forth_and_back() -> None:
    replay = Replay(with_a_failure(), "failure")
    replay.clock.pause(True)
    app = Dashboard(replay.context, graph="agg_router", read_only=True, replay=replay)
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        await until(pilot, lambda: "VllmWorker-2" in screen_text(pilot) and "4/4" in screen_text(pilot))
        assert "0:00 of 0:30" in screen_text(pilot)
        await pilot.press("full_stop", "right")
        await until(pilot, lambda: "3/4" in screen_text(pilot) and "lost" in screen_text(pilot))
        assert "0:20 of 0:30" in screen_text(pilot)
        await pilot.press("comma", "left")
        await until(pilot, lambda: "4/4" in screen_text(pilot))
        await pilot.press("t")
        await until(pilot, lambda: replay.clock.playing)
        await pilot.press("r")
        await until(pilot, lambda: "read-only" in screen_text(pilot))


async def test_recording_ends_when_its_time_is_over(daemon: StandIn, socket_path: Path, tmp_path: Path) -> None:
    async with AsyncClient(Context(socket=str(socket_path))) as client:
        counts = [n async for n in entries_of(Recorder(client, "agg_router", "default", tmp_path / "x"), 0.6)]
    assert counts[-1] > 200


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(RecordingError, match="No such file"):
        read_recording(path)
    path.write_text("hello\n")
    with pytest.raises(RecordingError, match="is not a recording"):
        read_recording(path)
    path.write_text('{"format":"dynamod-recording","version":99,"project":"p","graph":"g","started":0}\n')
    with pytest.raises(RecordingError, match="version 99"):
        read_recording(path)
