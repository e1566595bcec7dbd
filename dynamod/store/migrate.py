"""Schema migrations: run when the daemon starts, after a backup, and only when there is something to do.

Alembic costs as much to import as the whole store, so it is imported only when the schema is not current.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

import dynamod
from dynamod.core.errors import StoreError
from dynamod.store.tables import metadata

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0004"
"""The newest migration; a test compares it with the scripts."""


def scripts() -> Path:
    """Where the migrations are: inside the package when installed, beside it in a checkout.

    Raises:
        StoreError: the installation is incomplete.
    """
    package = Path(dynamod.__file__).parent
    for place in (package / "migrations", package.parent / "migrations"):
        if (place / "env.py").is_file():
            return place
    raise StoreError("the migrations are missing from this installation", remedy="install dynamod again")


def current(connection: Connection) -> str | None:
    """The schema's revision; None for a database that is new."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def migrate(engine: Engine, database: Path | None) -> Path | None:
    """Bring the schema up to date; returns the backup that was made of an older one.

    Raises:
        StoreError: the schema is newer than this program, or a migration failed.
    """
    with engine.connect() as connection:
        revision = current(connection)
        is_new = revision is None and not inspect(connection).get_table_names()
        connection.rollback()
    if revision == HEAD:
        return None
    if is_new:
        create(engine)
        return None
    backup = None
    if revision is not None and database is not None:
        backup = _backup(database, revision)
    upgrade(engine, "head")
    return backup


def create(engine: Engine) -> None:
    """Make the newest schema in an empty database, as if all migrations had run (a test holds the two equal).

    A `serve` has a new database every time, and must not pay for Alembic.
    """
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})


def upgrade(engine: Engine, to: str) -> None:
    """Run migrations up to revision `to`.

    Raises:
        StoreError: the schema is newer than this program, or a migration failed.
    """
    from alembic import command
    from alembic.util import CommandError

    with engine.begin() as connection:
        try:
            command.upgrade(_config(connection), to)
        except CommandError as error:
            raise StoreError(
                f"the database's schema cannot be brought up to date: {error}",
                remedy="use the version of dynamod that wrote it, or a newer one",
            ) from error


def downgrade(engine: Engine, to: str) -> None:
    """Run migrations back to revision `to` (`base`: an empty database)."""
    from alembic import command

    with engine.begin() as connection:
        command.downgrade(_config(connection), to)


def _config(connection: Connection) -> Config:
    from alembic.config import Config as AlembicConfig

    config = AlembicConfig()
    config.set_main_option("script_location", str(scripts()))
    config.attributes["connection"] = connection
    return config


def _backup(database: Path, revision: str) -> Path:
    backup = database.with_name(f"{database.name}.before-{HEAD}-was-{revision}")
    backup.unlink(missing_ok=True)
    with closing(sqlite3.connect(database)) as connection:  # VACUUM must stand outside of any transaction
        connection.execute("VACUUM INTO ?", (str(backup),))
    return backup
