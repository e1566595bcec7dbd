"""SVG snapshots of pages: a picture is taken until it is as stored, for figures come one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.pilot import Pilot

from tests.unit.dynamo_tui.tui.conftest import DEADLINE_S, screen_text, until

SETTLED_S = 3.0
"""A picture that is to be stored has not changed for so long: late figures are in."""
THEMES = ("dark", "light", "no-colour")
SIZES = ((80, 24), (200, 60))
Pages = Mapping[str, tuple[Sequence[str], str]]
"""The keys that lead to each page (`wait:TEXT` waits for it), and what is on screen once it is complete."""


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


def set_theme(pilot: Pilot[int], theme: str) -> None:
    pilot.app.theme = "textual-light" if theme == "light" else "textual-dark"
    pilot.app.cursor_blink = False


async def walk(pilot: Pilot[int], snapshot: SnapshotAssertion, pages: Pages) -> None:
    """Go from page to page, and compare each with how it is stored."""
    for page, (keys, complete) in pages.items():
        for key in keys:
            if key.startswith("wait:"):
                await until(pilot, lambda text=key[5:]: text in screen_text(pilot))
            else:
                await pilot.press(key)
        await until(pilot, lambda text=complete: text in screen_text(pilot))
        picture = Picture(pilot, snapshot, page)
        assert await picture.settled() == picture.expected


@pytest.fixture
def no_colour_where_asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual reads the variable when it starts."""
    if request.getfixturevalue("theme") == "no-colour":
        monkeypatch.setenv("NO_COLOR", "1")
