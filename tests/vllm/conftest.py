from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights."""
    from tests.vllm.models import with_weights

    return with_weights(tmp_path_factory.mktemp("weights") / "tiny")
