"""The engine on PostgreSQL by URL: the same life, and the same survival."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dynamod.engine import Engine, EngineOptions
from tests.integration.engine.support import (
    all_ready,
    graph,
    replicas,
    service,
    submission,
    until,
    until_replicas,
    until_state,
    where,
)


@pytest.mark.xdist_group("postgres")
async def test_a_graph_lives_and_survives_on_postgresql(tmp_path: Path, empty_postgres: str) -> None:
    options = EngineOptions(
        database_url=empty_postgres, environ={**os.environ, "DYNAMOD_GPUS": "2xH100-80GB"}, events_kept=1000
    )
    spec = graph(tmp_path, service("Front", "Back"), service("Back", gpu=0.5))
    async with Engine(where(tmp_path), options=options) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        await engine.scale("default", "demo", "Back", 2, actor="user:0")
        before = {r.id: r.pid for r in await until_replicas(engine, lambda rs: len(rs) == 3 and all_ready(rs))}
    assert not where(tmp_path).database.exists()
    async with Engine(where(tmp_path), options=options) as engine:
        found = await until_replicas(engine, lambda rs: len(rs) == 3 and all_ready(rs))
        assert {r.id: r.pid for r in found} == before
        os.kill(next(pid for pid in before.values() if pid), signal.SIGKILL)
        await until_replicas(engine, lambda rs: all_ready(rs) and {r.id: r.pid for r in rs} != before)
        events = (await engine.events(0, 1000)).items
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        await engine.remove("default", "demo", actor="user:0")

        async def gone() -> bool:
            return not (await engine.graphs()).items and not any(gpu.claimed for gpu in await engine.gpus())

        await until(engine, gone)
        assert not await replicas(engine)
