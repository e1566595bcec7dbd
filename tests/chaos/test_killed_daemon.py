"""A few deaths in the test run; `make chaos` does a hundred and prints what it saw."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.chaos.killed_daemon import Chaos

ROUNDS = 6


@pytest.mark.timeout(400)
@pytest.mark.xdist_group("chaos")
async def test_killed_again_and_again(tmp_path: Path) -> None:
    seed = int(os.environ.get("DYNAMOD_CHAOS_SEED", random.randrange(1 << 30)))
    report = await Chaos(tmp_path, ROUNDS, seed).run()
    assert not report.findings, report.text()
