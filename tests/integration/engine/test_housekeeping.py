from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from dynamod.core.errors import Gone
from dynamod.engine import Engine, EngineOptions
from dynamod.engine.housekeeping import tidy_directories, tidy_events, tidy_revisions
from tests.integration.engine.support import graph, service, submission, until_state, where


async def test_old_events_and_revisions_go(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Only", workers=0))
    async with Engine(where(tmp_path), options=EngineOptions(events_kept=5, revisions_kept=2)) as engine:
        for n in range(5):
            await engine.submit(submission(replace(spec, envs={"N": str(n)})), actor="user:0")
        await until_state(engine, "demo", "ready")
        await tidy_events(engine.core)
        await tidy_revisions(engine.core)
        kept = (await engine.events()).items
        numbers = [e.seq for e in kept]
        assert numbers == list(range(numbers[0], engine.last_seq + 1))
        assert numbers[0] > 10
        with pytest.raises(Gone):
            await engine.events(0)
        subscription = engine.subscribe(0)
        with pytest.raises(Gone):
            await subscription.begin()
        subscription.close()
        assert [r.number for r in await engine.revisions("default", "demo")] == [5, 4]
    async with Engine(where(tmp_path)) as engine:
        assert [r.number for r in await engine.revisions("default", "demo")] == [5, 4]
        assert (await engine.events()).items[-1].seq == engine.last_seq


def test_directories_of_forgotten_replicas_go_when_they_are_old(tmp_path: Path) -> None:
    for name, age in (("known", 100.0), ("recent", 0.0), ("old", 100.0)):
        directory = tmp_path / name
        directory.mkdir()
        for n in range(25):
            (directory / f"run-{n}.json").touch()
        for path in (*directory.iterdir(), directory):
            os.utime(path, (time.time() - age, time.time() - age))
    tidy_directories(tmp_path, frozenset({"known"}), time.time() - 50)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["known", "recent"]
    assert sorted(int(p.stem[4:]) for p in (tmp_path / "known").iterdir()) == list(range(5, 25))
