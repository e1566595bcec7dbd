"""What each page looks like: SVG snapshots in a dark, a light and a no-colour theme, at two sizes.

The stand-in daemon's world and clock stand still, so each page comes to one picture and stays at it. A test waits until
the page looks as it is stored; it fails where that does not come about before the deadline.

After a wanted change: `pytest tests/unit/dynamo_tui/tui/test_looks.py --snapshot-update -n 0`, and look at the result.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.pilot import Pilot

from tests.unit.dynamo_tui.tui.conftest import DEADLINE_S, dashboard, screen_text, until
from tests.unit.dynamo_tui.tui.stand_in import StandIn

SETTLED_S = 3.0
"""A picture that is to be stored has not changed for so long: late figures are in."""

PAGES: dict[str, tuple[list[str], str]] = {
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
"""The keys that lead from each page to the next, and what is on screen once it is complete."""


class Svg(SingleFileSnapshotExtension):
    _write_mode = WriteMode.TEXT
    _file_extension = "svg"

    def serialize(self, data: Any, **_: Any) -> str:
        return str(data)


class Picture:
    """What one page looks like now, beside how it is stored."""

    def __init__(self, pilot: Pilot[int], snapshot: SnapshotAssertion, page: str) -> None:
        self._pilot = pilot
        self._page = page
        self.expected = snapshot(name=page, extension_class=Svg)
        self._updating = self.expected.update_snapshots
        location = self.expected.extension.get_location(test_location=self.expected.test_location, index=page)
        self._stored = Path(location).read_text(encoding="utf-8") if Path(location).is_file() else ""

    def take(self) -> str:
        return self._pilot.app.export_screenshot(title=self._page)

    async def settled(self) -> str:
        """The picture once it is as stored, or, where there is none to go by, once it stays the same."""
        end = time.monotonic() + DEADLINE_S
        taken, since = self.take(), time.monotonic()
        while taken != self._stored and time.monotonic() < end:
            if self._updating and time.monotonic() > since + SETTLED_S:
                break
            await self._pilot.pause(0.1)
            if (now := self.take()) != taken:
                taken, since = now, time.monotonic()
        return taken


@pytest.mark.timeout(300)  # many pages, and each may take long on a busy machine
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
            picture = Picture(pilot, snapshot, page)
            assert await picture.settled() == picture.expected
