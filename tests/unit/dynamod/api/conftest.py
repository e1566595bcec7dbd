from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from dynamod.api.rules import guard_rules
from dynamod.engine import EngineOptions
from dynamod.schema import Locations, locations
from dynamod.serving import Serving, serving


@pytest.fixture
def where(tmp_path: Path) -> Locations:
    return locations(tmp_path / "state")


@pytest.fixture
async def daemon(where: Locations) -> AsyncIterator[Serving]:
    """A real engine with its REST face on a Unix socket."""
    options = EngineOptions(environ={"PATH": "/usr/bin:/bin"})
    async with serving(where, options, guard_rules(None), on_shutdown=lambda _: None) as running:
        await running.open_face()
        yield running


@pytest.fixture
async def client(daemon: Serving, where: Locations) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(uds=str(where.api_socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as made:
        yield made
