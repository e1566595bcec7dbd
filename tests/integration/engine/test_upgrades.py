"""State that older versions left: every schema that there ever was opens in the present one, with what stood in it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine

from dynamod.core.errors import StoreError
from dynamod.engine import Engine
from dynamod.schema import Replica
from dynamod.store import migrate
from tests.integration.engine.support import all_ready, interpreter, until_replicas, until_state, where

GONE = 2**22 + 1
"""No process has such a pid."""


def older_schemas() -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(migrate.scripts()))
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    return sorted(revision for revision in revisions if revision != migrate.HEAD)


def rows(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """What a daemon of 0.1.0 wrote for a graph of one service, as text: no code of today has a part in it."""
    spec = {
        "version": 1,
        "name": "old",
        "target": "standin:A",
        "entry": "A",
        "services": [
            {"name": "A", "target": "standin:A", "probes": {"readiness": {"kind": "log", "target": "is up"}}},
        ],
        "interpreter": interpreter(directory),
        "working_dir": str(directory),
    }
    place = {"project": "default", "graph": "old", "service": "A", "replica": "old-a-1-x"}
    event = {"at": 1.0, "actor": "user:0", "reason": None, "message": "as it was", "data": "{}"}
    return {
        "projects": [{"name": "default", "created_at": 1.0}],
        "graphs": [
            {
                "id": "g-1",
                "project": "default",
                "name": "old",
                "driver": "process",
                "goal": "run",
                "state": "ready",
                "reason": "all_ready",
                "message": "",
                "revision": 1,
                "stable": 1,
                "scale": '{"A": 2}',
                "stop_timeout": None,
                "version": 7,
                "created_at": 1.0,
                "updated_at": 2.0,
            }
        ],
        "revisions": [
            {
                "graph_id": "g-1",
                "number": 1,
                "digest": "0" * 64,
                "spec": json.dumps(spec),
                "envs": '{"WHO": "me"}',
                "build": None,
                "cause": "submitted",
                "created_at": 1.0,
            }
        ],
        "replicas": [
            {
                "id": "old-a-1-x",
                "graph_id": "g-1",
                "project": "default",
                "graph": "old",
                "service": "A",
                "index": 1,
                "revision": 1,
                "driver": "process",
                "state": "ready",
                "reason": "probe_succeeded",
                "message": "",
                "progress": "",
                "run": 3,
                "pid": GONE,
                "container": None,
                "host": "box",
                "address": None,
                "gpus": "[]",
                "placement": "[]",
                "failures": "[1.0]",
                "next_retry_at": None,
                "doom": None,
                "last_exit": '{"code": 3, "reason": "exited_with_error"}',
                "probe": "",
                "created_at": 1.0,
                "started_at": 1.0,
                "ready_at": 1.0,
                "updated_at": 2.0,
            }
        ],
        "events": [
            {"seq": seq, "action": action, **place, **event}
            for seq, action in enumerate(("graph.created", "replica.created", "replica.state"), 1)
        ],
    }


def old_database(path: Path, schema: str, directory: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    migrate.upgrade(engine, schema)
    tables = MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for name, found in rows(directory).items():
            connection.execute(tables.tables[name].insert(), found)
    engine.dispose()


@pytest.mark.parametrize("schema", older_schemas())
async def test_a_database_of_an_older_schema_opens_and_its_graph_goes_on(tmp_path: Path, schema: str) -> None:
    places = where(tmp_path)
    places.state_dir.mkdir(mode=0o700)
    old_database(places.database, schema, tmp_path)
    async with Engine(places) as engine:

        def two_run(found: list[Replica]) -> bool:
            """The scale that was set is kept; nothing of the last run was there, so it was started again."""
            return len(found) == 2 and all_ready(found) and all(r.pid != GONE for r in found)

        found = await until_replicas(engine, two_run)
        assert "old-a-1-x" in {r.id for r in found}
        graph = await until_state(engine, "old", "ready")
        assert graph.revision == 1
        events = (await engine.events(0, 1000)).items
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        assert [e.message for e in events[:3]] == ["as it was"] * 3
        await engine.remove("default", "old", actor="test")
        await engine.stop(stop_graphs=True)
    backup = places.database.with_name(f"{places.database.name}.before-{migrate.HEAD}-was-{schema}")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (3,)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (schema,)


async def test_a_row_that_only_a_newer_version_can_read_is_told_in_one_line(tmp_path: Path) -> None:
    places = where(tmp_path)
    places.state_dir.mkdir(mode=0o700)
    old_database(places.database, migrate.HEAD, tmp_path)
    with closing(sqlite3.connect(places.database)) as connection, connection:
        connection.execute("UPDATE revisions SET spec = json_set(spec, '$.added_later', 1)")
    with pytest.raises(StoreError, match="added_later") as refused:
        await Engine(places).start()
    assert "newer" in (refused.value.remedy or "")
