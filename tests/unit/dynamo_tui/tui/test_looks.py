"""What each page looks like: SVG snapshots in a dark, a light and a no-colour theme, at two sizes.

The stand-in daemon's world and clock stand still, so each page comes to one picture and stays at it. A test waits until
the page looks as it is stored; it fails where that does not come about before the deadline.

After a wanted change: `pytest tests/unit/dynamo_tui/tui/test_looks.py --snapshot-update -n 0`, and look at the result.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.unit.dynamo_tui.tui.conftest import dashboard
from tests.unit.dynamo_tui.tui.looks import SIZES, THEMES, Pages, no_colour_where_asked, set_theme, walk
from tests.unit.dynamo_tui.tui.stand_in import StandIn

__all__ = ["no_colour_where_asked"]

PAGES: Pages = {
    "graphs": ([], "agg_router"),
    "graph": (["end", "enter"], "VllmWorker-4"),
    "kv": (["4"], "89.4%"),
    "metrics": (["5"], "Frontend requests/s"),
    "logs": (["1", "wait:degraded", "end", "l"], "r199 finished"),
    "replica": (["1", "wait:degraded", "home", "enter", "wait:Backend-1", "tab", "enter"], "placed"),
    "gpus": (["6"], "foreign"),
    "events": (["7"], "scaled up"),
    "builds": (["8"], "2 services"),
    "help": (["question_mark"], "Keys and commands"),
    "confirm": (["escape", "1", "wait:degraded", "end", "x"], "dynamoctl stop"),
}


@pytest.mark.timeout(300)  # many pages, and each may take long on a busy machine
@pytest.mark.usefixtures("no_colour_where_asked")
@pytest.mark.parametrize("size", SIZES, ids=["80x24", "200x60"])
@pytest.mark.parametrize("theme", THEMES)
async def test_pages(
    daemon: StandIn, socket_path: Path, theme: str, size: tuple[int, int], snapshot: SnapshotAssertion
) -> None:
    async with dashboard(socket_path, size=size) as pilot:
        set_theme(pilot, theme)
        await walk(pilot, snapshot, PAGES)
