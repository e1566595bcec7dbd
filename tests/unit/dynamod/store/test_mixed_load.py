"""A short run of `python -m benchmarks.control.mixed_load`, which goes on for an hour and more."""

from __future__ import annotations

from pathlib import Path

from benchmarks.control.mixed_load import run

SECONDS = 4.0


async def test_nothing_is_locked_lost_or_oversold_under_mixed_load(tmp_path: Path) -> None:
    report = await run(tmp_path, seconds=SECONDS, rate=300.0)
    assert not report.errors
    for what in ("changes", "graphs", "followed", "pages", "snapshots", "tidied", "foreign reads", "metric batches"):
        assert report.done[what] > 0, what
