"""The quick start and the tutorial, done as they stand."""

from __future__ import annotations

import shutil

import pytest

from tests.e2e.commands import EXAMPLES, Home
from tests.e2e.guide import Guide

pytestmark = [
    pytest.mark.timeout(500),
    pytest.mark.xdist_group("e2e-hello"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl"),
]


def test_the_tutorial(home: Home) -> None:
    place = home.path / "words"
    place.mkdir()
    Guide(home, place, codes={"dynamoctl plan": 1}).follow("tutorial.md")


def test_the_quick_start(home: Home) -> None:
    shutil.copytree(EXAMPLES, home.path / "examples")
    Guide(home, home.path, codes={"dynamoctl plan": 1}).follow("quickstart.md", skip=["pip install"])


def test_what_to_try_when_migrating(home: Home) -> None:
    shutil.copytree(EXAMPLES / "llm", home.path / "llm")
    Guide(home, home.path / "llm").follow("migrating.md", skip=["pip uninstall"])
