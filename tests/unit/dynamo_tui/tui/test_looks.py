"""What each page looks like: SVG snapshots in a dark, a light and a no-colour theme, at two sizes.

After a wanted change: `pytest tests/unit/dynamo_tui/tui/test_looks.py --snapshot-update -n 0`, and look at the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from tests.unit.dynamo_tui.tui.conftest import dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn

SETTLED_S = 0.7
"""Longer than the time between two refreshes: late figures are in."""

PAGES: dict[str, tuple[list[str], str]] = {
    "graphs": ([], "agg_router"),
    "graph": (["end", "enter"], "VllmWorker-4"),
    "kv": (["4"], "89.4%"),
    "metrics": (["5"], "Frontend requests/s"),
    "logs": (["1", "wait:degraded", "end", "l"], "r199 finished"),
    "replica": (["1", "wait:degraded", "home", "enter", "wait:Backend-1", "tab", "enter"], "placed"),
    "gpus": (["6"], "foreign"),
    "events": (["7"], "scaled up"),
    "help": (["question_mark"], "Keys and commands"),
    "confirm": (["escape", "1", "wait:degraded", "end", "x"], "dynamoctl stop"),
}
"""The keys that lead from each page to the next, and what is on screen once it is complete."""


class Svg(SingleFileSnapshotExtension):
    _write_mode = WriteMode.TEXT
    _file_extension = "svg"

    def serialize(self, data: Any, **_: Any) -> str:
        return str(data)


@pytest.mark.looks
@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["80x24", "200x60"])
@pytest.mark.parametrize("theme", ["dark", "light", "no-colour"])
async def test_pages(
    daemon: StandIn,
    socket_path: Path,
    theme: str,
    size: tuple[int, int],
    snapshot: SnapshotAssertion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if theme == "no-colour":
        monkeypatch.setenv("NO_COLOR", "1")
    async with dashboard(socket_path, size=size) as pilot:
        pilot.app.theme = "textual-light" if theme == "light" else "textual-dark"
        pilot.app.cursor_blink = False
        for page, (keys, complete) in PAGES.items():
            for key in keys:
                if key.startswith("wait:"):
                    await until(pilot, lambda text=key[5:]: text in screen_text(pilot))
                else:
                    await pilot.press(key)
            await until(pilot, lambda text=complete: text in screen_text(pilot))
            await pilot.pause(SETTLED_S)
            picture = pilot.app.export_screenshot(title=page)
            assert picture == snapshot(name=page, extension_class=Svg)
