from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dynamo.sdk.config import ServiceConfig
from dynamo.sdk.linking import LinkedServices

_serial = itertools.count()

GraphModule = Callable[[str], str]


@pytest.fixture(autouse=True)
def _fresh_process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Links and configuration are per process: give each test its own."""
    for name in ("DYNAMO_SERVICE_CONFIG", "DYN_DEPLOYMENT_CONFIG", "DYNAMO_PORT", "DYNAMO_HOST"):
        monkeypatch.delenv(name, raising=False)
    ServiceConfig.forget()
    LinkedServices.clear()
    before, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if name.startswith("graph_"):
            del sys.modules[name]
    LinkedServices.clear()


@pytest.fixture
def graph_module(tmp_path: Path) -> GraphModule:
    """Write a module into `tmp_path` under a name of its own, and return that name."""

    def write(source: str) -> str:
        name = f"graph_{next(_serial)}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        return name

    return write
