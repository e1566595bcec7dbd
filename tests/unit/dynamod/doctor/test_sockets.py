"""Real sockets: served, left behind, held by a daemon that does not answer."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from dynamod.doctor.sockets import check_daemon, check_run_directory, check_stale_sockets
from dynamod.schema import Locations, Verdict, locations
from dynamod.schema.serve import ServeRegistration, registration_file


@pytest.fixture
def where() -> Iterator[Locations]:
    with tempfile.TemporaryDirectory(prefix="dyn-") as short:
        made = locations(Path(short))
        made.run_dir.mkdir(mode=0o700)
        yield made


@contextmanager
def served(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        yield


@contextmanager
def locked(where: Locations) -> Iterator[None]:
    with where.lock_file.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def test_nobody(where: Locations) -> None:
    assert check_daemon(where).what == "none runs"
    assert check_stale_sockets(where).verdict is Verdict.OK


def test_a_daemon_that_answers(where: Locations) -> None:
    with locked(where), served(where.api_socket):
        found = check_daemon(where)
        assert (found.verdict, f"pid {os.getpid()}" in found.what) == (Verdict.OK, True)
        assert check_stale_sockets(where).verdict is Verdict.OK


def test_a_daemon_that_does_not_answer(where: Locations) -> None:
    with locked(where):
        found = check_daemon(where)
        assert (found.verdict, f"pid {os.getpid()}" in found.what) == (Verdict.WARN, True)


def test_a_stranger_on_our_socket(where: Locations) -> None:
    with served(where.api_socket):
        assert check_daemon(where).verdict is Verdict.FAIL


def test_sockets_and_registrations_that_were_left_behind(where: Locations) -> None:
    with served(where.api_socket):
        pass  # the file stays when its server is gone
    dead = registration_file(where, 2**22 + 1)
    dead.parent.mkdir()
    record = ServeRegistration(
        pid=2**22 + 1, socket="/x", project="default", graph="g", target="m:C", started_at=datetime.now(UTC)
    )
    dead.write_bytes(msgspec.json.encode(record))
    found = check_stale_sockets(where)
    assert found.verdict is Verdict.WARN
    assert str(where.api_socket) in found.what
    assert str(dead) in found.what


def test_a_socket_path_that_is_too_long_moves(tmp_path: Path, where: Locations) -> None:
    found = check_run_directory(locations(tmp_path / ("long" * 30)))
    assert (found.verdict, "too long" in found.what) == (Verdict.OK, True)
    where.run_dir.chmod(0o755)
    found = check_run_directory(where)
    assert (found.verdict, found.remedy) == (Verdict.WARN, f"chmod 700 {where.run_dir}")
    where.run_dir.rmdir()
    where.run_dir.write_text("")
    assert check_run_directory(where).verdict is Verdict.FAIL
