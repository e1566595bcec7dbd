"""A stand-in daemon on a real socket, and a dashboard in front of it."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from dynamo_tui.client.contexts import Context
from dynamo_tui.tui.app import Dashboard
from tests.unit.dynamo_tui.tui import world
from tests.unit.dynamo_tui.tui.stand_in import StandIn

DEADLINE_S = 20.0


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    """Times on screen are local times: let that be UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.fixture
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s") / "api"


@pytest.fixture
async def daemon(socket_path: Path) -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    await stand_in.start(socket_path)
    yield stand_in
    await stand_in.stop()


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a deadline."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"not in time; on screen:\n{screen_text(pilot)}"
        await pilot.pause(0.02)


@asynccontextmanager
async def dashboard(socket: Path, *, size: tuple[int, int] = (100, 30), **options: Any) -> AsyncIterator[Pilot[int]]:
    """A running dashboard whose clock stands still, once it shows the world."""
    app = Dashboard(Context(socket=str(socket)), now=lambda: world.NOW, **options)
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: bool(app.store.graphs) and bool(app.views))
        await pilot.pause(0.05)
        yield pilot


def screen_text(pilot: Pilot[Any]) -> str:
    """What is on screen, as text; nothing while a screen that was just opened is not laid out."""
    width, _ = pilot.app.size
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join(strip.text[:width] for strip in strips)
