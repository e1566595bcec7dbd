"""The example, as real processes around a real discovery server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.integration.sdk.conftest import Cell, free_port

EXAMPLE = Path(__file__).parents[3] / "examples" / "hello_world"
ANSWER = "Frontend: Middle: Backend: test-mid-back"


async def until_open(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                return


@pytest.mark.parametrize(
    ("target", "directory"),
    [("hello_world:Frontend", EXAMPLE), ("old_hello_world:Frontend", Path(__file__).parent)],
    ids=["example", "old style"],
)
async def test_every_request_from_a_cold_start_is_answered(cell: Cell, target: str, directory: Path) -> None:
    port = free_port()
    frontend = await cell.start(target, "Frontend", cwd=directory, DYNAMO_PORT=str(port))
    await until_open(port)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        # Nobody else is there yet: the first requests wait for the rest of the graph.
        first = [asyncio.create_task(client.post("/generate", json={"text": "test"})) for _ in range(50)]
        middle = await cell.start(target, "Middle", cwd=directory)
        backend = await cell.start(target, "Backend", cwd=directory)
        assert [answer.text for answer in await asyncio.gather(*first)] == [ANSWER] * 50
        for _ in range(9):
            more = await asyncio.gather(*(client.post("/generate", json={"text": "test"}) for _ in range(50)))
            assert [answer.text for answer in more] == [ANSWER] * 50
        words = await client.post("/generate", json={"text": "a b c"})
        assert words.text == (
            "Frontend: Middle: Backend: aFrontend: Middle: Backend: bFrontend: Middle: Backend: c-mid-back"
        )
        assert (await client.post("/generate", json={"nope": 1})).status_code == 422
        assert (await client.get("/generate")).status_code == 405
    for replica in (frontend, middle, backend):
        assert await replica.terminate() == 0, replica.output
    assert await cell.statuses() == {}


async def test_configuration_reaches_the_constructors(cell: Cell) -> None:
    port = free_port()
    config = '{"Common": {"message": "c"}, "Backend": {"common-configs": ["message"]}, "Middle": {"message": "m"}}'
    for service in ("Frontend", "Middle", "Backend"):
        await cell.start(
            "hello_world.py:Frontend", service, cwd=EXAMPLE, DYNAMO_PORT=str(port), DYNAMO_SERVICE_CONFIG=config
        )
    await asyncio.gather(*(replica.ready() for replica in cell.replicas))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        answer = await client.post("/generate", json={"text": "test"})
    assert answer.text == "Frontend: Middle: Backend: test-m-c"
