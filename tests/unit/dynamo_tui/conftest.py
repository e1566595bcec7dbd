from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.dynamo_tui.standin import StandIn, standin


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path leaves room for a Unix socket's name."""
    path = Path(tempfile.mkdtemp(prefix="dyn-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def daemon(short_dir: Path) -> Iterator[StandIn]:
    with standin(short_dir / "api.sock") as state:
        yield state
