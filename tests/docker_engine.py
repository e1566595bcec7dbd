"""A real Docker engine, and a base image with Python that needs no registry.

The engine is the one of the environment. Where none answers, and where the tools for tests are there (in
`DYN_TEST_TOOLS`, or beside the checkout), they start one. Else every test here is skipped, and says so.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from docker import DockerClient

TOOLS = Path(os.environ.get("DYN_TEST_TOOLS") or Path(__file__).parents[3] / "shared" / "tools")
BASE_IMAGE = os.environ.get("DYN_TEST_BASE_IMAGE", "dynamod/python-base:test")


def _listens() -> bool:
    """Whether somebody is at the default socket. A Docker client that finds nobody there leaks its sockets."""
    if "DOCKER_HOST" in os.environ:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex("/var/run/docker.sock") == 0


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    """A client of the engine."""
    docker = pytest.importorskip("docker", reason="the Docker SDK is not installed: pip install 'dynamod[docker]'")
    if not _listens():
        start = TOOLS / "docker" / "engine"
        if not start.is_file():
            pytest.skip(f"NO DOCKER ENGINE answers, and there is no {start} to start one")
        started = subprocess.run([start, "--default"], capture_output=True, text=True, timeout=300, check=False)
        if started.returncode != 0:
            pytest.skip(f"NO DOCKER ENGINE can be started here: {started.stderr[-300:]}")
    client = docker.from_env(timeout=120)
    client.ping()
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine: DockerClient) -> str:
    """An image with this Python, pip and a shell."""
    if not engine.images.list(name=BASE_IMAGE):
        make = TOOLS / "docker" / "base-image"
        if not make.is_file():
            pytest.skip(f"there is no image {BASE_IMAGE}: name one with Python and pip in DYN_TEST_BASE_IMAGE")
        subprocess.run([make, BASE_IMAGE], check=True, capture_output=True, timeout=300)
    return BASE_IMAGE
