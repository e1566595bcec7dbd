"""The guide from a laptop to a cluster, done as it stands up to the containers."""

from __future__ import annotations

import shutil

import pytest

import docker
from tests.e2e import conftest as e2e
from tests.e2e.commands import EXAMPLES, Home
from tests.e2e.guide import Guide

pytestmark = [
    pytest.mark.docker,
    pytest.mark.xdist_group("docker"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl"),
]
IMAGE = "dynamod-test/graduation:1"
home = e2e.home


def test_one_graph_from_a_laptop_to_containers(engine: docker.DockerClient, base_image: str, home: Home) -> None:
    place = shutil.copytree(EXAMPLES / "hello_world", home.path / "hello_world")
    home.extra["DYNAMOD_GPUS"] = "2xH100-80GB"
    containerize = "dynamoctl containerize hello:1"
    instead = {containerize: f"{containerize} --image {IMAGE} --base-image {base_image}"}
    try:
        guide = Guide(home, place, instead=instead)
        guide.follow("graduation.md", skip=["dynamoctl push", "dynamoctl deploy hello:1 -n hello --target kubernetes"])
    finally:
        if engine.images.list(name=IMAGE):
            engine.images.remove(IMAGE, force=True)
