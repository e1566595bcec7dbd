"""Replicas outlive their engine by design; a test that fails must not leave any behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from dynamod.schema.locations import Locations
from tests.integration.engine.support import where


def kill_leftovers(places: Locations) -> None:
    """Kill every process that was told of this engine's discovery socket (shims included)."""
    url = f"unix://{places.discovery_socket}"
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("DYN_DISCOVERY") == url:
                process.kill()


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    kill_leftovers(where(tmp_path))
