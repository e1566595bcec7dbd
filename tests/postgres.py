"""A PostgreSQL server for tests, where its programs are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A throw-away PostgreSQL server on a Unix socket, where its programs are installed."""
    if not shutil.which("initdb") or not shutil.which("pg_ctl"):
        pytest.skip("PostgreSQL is not installed")
    as_owner: list[str] = []
    if os.getuid() == 0:
        known = subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode == 0
        if not known or not shutil.which("setpriv"):
            pytest.skip("PostgreSQL refuses to run as root, and there is no user for it")
        as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    base = Path(tempfile.mkdtemp(prefix="dynamod-pg-"))  # not below pytest's directory, which is closed to that user
    if as_owner:
        shutil.chown(base, "postgres", "postgres")

    def run(*command: str | Path) -> None:
        environ = {**os.environ, "HOME": str(base)}
        subprocess.run([*as_owner, *command], check=True, env=environ, cwd=base, stdout=subprocess.DEVNULL)

    data = base / "data"
    run("initdb", "-D", data, "-U", "test", "-A", "trust", "-N")
    settings = f"-k {base} -c listen_addresses= -c fsync=off"
    run("pg_ctl", "-D", data, "-o", settings, "-l", base / "log", "-w", "start")
    yield f"postgresql+psycopg://test@/postgres?host={base}"
    run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    shutil.rmtree(base)


@pytest.fixture
def empty_postgres(postgres: str) -> str:
    """The URL of a database without tables."""
    engine = create_engine(postgres)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return postgres
