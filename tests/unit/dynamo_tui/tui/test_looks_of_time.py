"""What a daemon's past, jump mode and several tabs look like: SVG snapshots, as in `test_looks`.

After a wanted change: `pytest tests/unit/dynamo_tui/tui/test_looks_of_time.py --snapshot-update -n 0`, and look.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.looks import SIZES, THEMES, Pages, no_colour_where_asked, set_theme, walk
from tests.unit.dynamo_tui.tui.stand_in import StandIn
from tests.unit.dynamo_tui.tui.test_time_travel import story

__all__ = ["no_colour_where_asked"]

TIMES: Pages = {
    "past-graph": (["t", "wait:as it was", "shift+left", "shift+left"], "3/4"),
    "past-kv": (["4"], "━ VllmWorker-4"),
    "past-gpus": (["6"], "have no history"),
    "tabs": (["escape", "wait:● live", "ctrl+t"], "▸2 graphs"),
    "jump": (["left_square_bracket", "wait:▸1 gpus", "semicolon"], "k"),
}


@pytest.fixture
async def daemon(socket_path: Path) -> AsyncIterator[StandIn]:
    """One that remembers a lost worker."""
    stand_in = StandIn()
    stand_in.events = sorted([*stand_in.events, *story()], key=lambda e: e.seq)
    await stand_in.start(socket_path)
    yield stand_in
    await stand_in.stop()


@pytest.mark.timeout(300)  # many pages, and each may take long on a busy machine
@pytest.mark.usefixtures("no_colour_where_asked")
@pytest.mark.parametrize("size", SIZES, ids=["80x24", "200x60"])
@pytest.mark.parametrize("theme", THEMES)
async def test_times(
    daemon: StandIn, socket_path: Path, theme: str, size: tuple[int, int], snapshot: SnapshotAssertion
) -> None:
    async with dashboard(socket_path, size=size, graph="agg_router") as pilot:
        set_theme(pilot, theme)
        await until(pilot, lambda: "VllmWorker-4" in screen_text(pilot))
        await walk(pilot, snapshot, TIMES)
