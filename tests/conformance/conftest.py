"""The drivers that the suite runs against. A further one is a `Subject` (see `subjects`) and a parameter here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dynamod.drivers.base import Driver
from dynamod.drivers.cgroups import open_cgroups
from dynamod.schema import locations
from tests.conformance.subjects import DockerSubject, Ends, ProcessSubject, Subject
from tests.docker_engine import base_image, engine

__all__ = ["base_image", "engine"]

DRIVERS = [
    pytest.param("process"),
    pytest.param("process in control groups"),
    pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.xdist_group("docker")]),
]


@pytest.fixture(params=DRIVERS)
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """The driver under test, over the state in `tmp_path`; what a test leaves behind goes."""
    if request.param == "docker":
        made: Subject = DockerSubject(
            tmp_path, request.getfixturevalue("engine"), request.getfixturevalue("base_image")
        )
    elif request.param == "process":
        made = ProcessSubject(tmp_path)
    else:
        groups = open_cgroups(locations(tmp_path).state_dir)
        if groups.parent is None:
            pytest.skip(f"REAL CONTROL GROUPS ARE NOT TESTED: {groups.lacking}")
        made = ProcessSubject(tmp_path, groups)
    yield made
    await made.clear()


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
async def driver(subject: Subject, ends: Ends) -> AsyncIterator[Driver]:
    driver = subject.make(ends)
    yield driver
    await driver.close()
