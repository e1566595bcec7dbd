from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from dynamod.core.errors import StoreError
from dynamod.store import migrate
from dynamod.store.database import Store
from dynamod.store.tables import metadata


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return create_engine(f"sqlite:///{tmp_path / 'store.db'}")


def test_head_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.scripts()))
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.HEAD


def test_upgrade_without_drift_and_back(engine: Engine) -> None:
    migrate.upgrade(engine, "head")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    migrate.downgrade(engine, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    migrate.upgrade(engine, "head")
    assert set(inspect(engine).get_table_names()) == {*metadata.tables, "alembic_version"}
    engine.dispose()


def schema(engine: Engine) -> dict[str, object]:
    """Everything that the inspector knows of each table."""
    inspector = inspect(engine)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)],
            inspector.get_pk_constraint(table)["constrained_columns"],
            sorted((i["name"] or "", i["column_names"], bool(i["unique"])) for i in inspector.get_indexes(table)),
            sorted(u["column_names"] for u in inspector.get_unique_constraints(table)),
            sorted((f["constrained_columns"], f["referred_table"]) for f in inspector.get_foreign_keys(table)),
        )
        for table in sorted(inspector.get_table_names())
    }


def test_a_new_database_is_what_the_migrations_make(engine: Engine, tmp_path: Path) -> None:
    migrated = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    migrate.upgrade(migrated, "head")
    migrate.migrate(engine, None)
    assert schema(engine) == schema(migrated)
    with engine.connect() as connection:
        assert migrate.current(connection) == migrate.HEAD
    migrate.upgrade(engine, "head")
    engine.dispose()
    migrated.dispose()


async def test_an_older_database_is_backed_up_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    await (await Store.open(path)).close()
    scripts = tmp_path / "migrations"
    shutil.copytree(migrate.scripts(), scripts)
    (scripts / "versions" / "9000_test.py").write_text(
        f"from alembic import op\nrevision = '9000'\ndown_revision = '{migrate.HEAD}'\n"
        "def upgrade(): op.execute('CREATE TABLE later (x INTEGER)')\ndef downgrade(): op.execute('DROP TABLE later')\n"
    )
    was = migrate.HEAD
    monkeypatch.setattr(migrate, "scripts", lambda: scripts)
    monkeypatch.setattr(migrate, "HEAD", "9000")
    await (await Store.open(path)).close()
    backup = tmp_path / f"store.db.before-9000-was-{was}"
    with sqlite3.connect(backup) as old, sqlite3.connect(path) as new:
        assert "later" not in {name for (name,) in old.execute("SELECT name FROM sqlite_master")}
        assert "later" in {name for (name,) in new.execute("SELECT name FROM sqlite_master")}
    old.close()
    new.close()


async def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await (await Store.open(path)).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="newer one"):
        await Store.open(path)


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is no database, and long enough to be looked at" * 20)
    with pytest.raises(StoreError, match="not a database"):
        await Store.open(path)
