"""Replicas outlive their engine by design; a test that fails must not leave any behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.integration.engine.support import where


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path: Path) -> Iterator[None]:
    """After a test, kill every process that was told of its engine's discovery socket (shims included)."""
    yield
    url = f"unix://{where(tmp_path).discovery_socket}"
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("DYN_DISCOVERY") == url:
                process.kill()
