"""The drivers that the suite runs against. A further one is a `Subject` (see `subjects`) and a parameter here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import to_builtins

from dynamod.drivers.base import Driver
from dynamod.drivers.cgroups import open_cgroups
from dynamod.schema import locations
from tests.conformance.graphs import Containers, Place, Pods, Processes
from tests.conformance.subjects import DockerSubject, Ends, ProcessSubject, Subject
from tests.docker_engine import base_image, engine
from tests.examples_image import build
from tests.kube_cluster import namespace, options

__all__ = ["base_image", "engine", "namespace", "options"]

DRIVERS = [
    pytest.param("process"),
    pytest.param("process in control groups"),
    pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.xdist_group("docker")]),
]


PLACES = [
    pytest.param("process"),
    pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.xdist_group("docker")]),
    pytest.param("kubernetes", marks=[pytest.mark.kube, pytest.mark.xdist_group("kube")]),
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


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where whole graphs are put."""
    if request.param == "kubernetes":
        said = {k: v for k, v in to_builtins(request.getfixturevalue("options")).items() if v is not None}
        return Pods(request.getfixturevalue("kubeconfig"), request.getfixturevalue("namespace"), said)
    if request.param == "docker":
        return Containers(request.getfixturevalue("examples_image"), locations(tmp_path).state_dir)
    return Processes()


@pytest.fixture(scope="session")
def examples_image(engine: object, base_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of the SDK and the examples."""
    build("dynamod/examples:test", base_image, tmp_path_factory.mktemp("image"))
    return "dynamod/examples:test"


@pytest.fixture
def ends() -> Ends:
    return Ends()


@pytest.fixture
async def driver(subject: Subject, ends: Ends) -> AsyncIterator[Driver]:
    driver = subject.make(ends)
    yield driver
    await driver.close()
