"""`make pictures`: draws the dashboard's pictures from a replayed recording, so that they cannot go stale.

The recording is of the example graph `agg_router` with four simulated workers under a trickle of chat requests:
`dynamoctl record chat -o docs/pictures/chat.dynrec.gz --for 60s`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from dynamo_tui.client.recording import read_recording
from dynamo_tui.tui.app import Dashboard
from dynamo_tui.tui.replay import Replay

HERE = Path(__file__).parent
SIZE = (110, 34)
DEADLINE_S = 60.0
SETTLED_S = 1.2

PICTURES: dict[str, tuple[list[str], str]] = {
    "graph": ([], "Worker-4"),
    "kv": (["4", "plus"], "✓"),
    "logs": (["3"], "following"),
    "metrics": (["5", "down", "down", "down"], "Frontend"),
    "gpus": (["6"], "NUMA"),
    "events": (["7"], "graph.state"),
    "replica": (["2", "tab", "end", "enter"], "started"),
}
"""By file name: the keys that lead from one to the next, and what is on screen once it is complete."""


async def main() -> None:
    replay = Replay(read_recording(HERE / "chat.dynrec.gz"), "chat")
    replay.clock.set(replay.recording.end)
    app = Dashboard(replay.context, graph="chat", read_only=True, replay=replay)
    async with app.run_test(size=SIZE) as pilot:
        for name, (keys, complete) in PICTURES.items():
            await pilot.press(*keys)
            await _shows(pilot, lambda text, wanted=complete: wanted in text)
            await pilot.pause(SETTLED_S)
            picture = app.export_screenshot(title=f"dynamo-tui: {name}")
            (HERE / f"{name}.svg").write_text(picture, encoding="utf-8")


async def _shows(pilot: Pilot[int], condition: Callable[[str], bool]) -> None:
    """Wait until what is on screen satisfies a condition."""
    end = time.monotonic() + DEADLINE_S
    while not condition(pilot.app.export_screenshot().replace("&#160;", " ")):
        if time.monotonic() > end:
            raise TimeoutError(f"the page did not come; on screen:\n{pilot.app.screen}")
        await pilot.pause(0.1)


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    asyncio.run(main())
