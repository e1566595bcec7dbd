"""Sockets of a state directory whose path is too long for them lie under /tmp, and do not stay there."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynamod.engine import Engine, run_dirs
from dynamod.schema import Locations, StopRequest, locations
from tests.integration.engine.support import graph, replicas, service, submission, until_state


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Locations]:
    made = locations(tmp_path / ("long" * 30))
    assert made.run_dir_is_apart
    yield made
    shutil.rmtree(made.run_dir, ignore_errors=True)


async def test_an_engine_that_leaves_nothing_running_leaves_no_directory(tmp_path: Path, where: Locations) -> None:
    async with Engine(where) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only"))), actor="user:0")
        await until_state(engine, "demo", "ready")
        (one,) = await replicas(engine)
    assert where.run_dir.is_dir(), "a replica runs on and may need its sockets"
    async with Engine(where) as engine:
        assert (await replicas(engine))[0].pid == one.pid
        await engine.stop_graph("default", "demo", StopRequest(), actor="user:0")
        await until_state(engine, "demo", "stopped")
    assert not where.run_dir.exists()
    async with Engine(where) as engine:
        await engine.start_graph("default", "demo", actor="user:0")
        await until_state(engine, "demo", "ready")
        await engine.stop(stop_graphs=True)
    assert not where.run_dir.exists()


def test_what_a_killed_engine_left_goes_once_its_state_directory_is_gone(where: Locations) -> None:
    where.state_dir.mkdir()
    where.run_dir.mkdir()
    run_dirs.claim(where)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(where.api_socket))
        listener.listen()
        where.state_dir.rmdir()
        assert where.run_dir not in run_dirs.sweep(), "somebody listens"
    where.state_dir.mkdir()
    assert where.run_dir not in run_dirs.sweep(), "the next engine there takes it over"
    where.state_dir.rmdir()
    assert where.run_dir in run_dirs.sweep()
    assert not where.run_dir.exists()


def test_one_that_says_nothing_of_itself_goes_when_it_is_old(where: Locations) -> None:
    where.run_dir.mkdir()
    now = where.run_dir.stat().st_mtime
    assert where.run_dir not in run_dirs.sweep(now)
    assert where.run_dir in run_dirs.sweep(now + run_dirs.OLD_S + 1)


def test_a_link_in_its_place_is_not_followed(tmp_path: Path, where: Locations) -> None:
    (tmp_path / "mine").mkdir()
    where.run_dir.symlink_to(tmp_path / "mine")
    try:
        assert where.run_dir not in run_dirs.sweep(1e12)
    finally:
        where.run_dir.unlink()
