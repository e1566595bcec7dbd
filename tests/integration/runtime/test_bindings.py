"""A program of the old bindings, unmodified, and the names that such programs import."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from dynamo.runtime import EtcdKvCache
from dynamo.runtime.bindings.bound import bind
from dynamo.runtime.errors import DiscoveryError
from tests.integration.runtime.conftest import Place

PROGRAM = """
import asyncio, sys
from dynamo._core import Client, NatsQueue
from dynamo.runtime import DistributedRuntime, EtcdKvCache, dynamo_endpoint, dynamo_worker
from dynamo.runtime.logging import configure_dynamo_logging
from pydantic import BaseModel

class Request(BaseModel):
    text: str

class Handler:
    @dynamo_endpoint(Request, str)
    async def generate(self, request):
        for char in request.text:
            yield f"{char}"

@dynamo_worker()
async def worker(runtime: DistributedRuntime):
    component = runtime.namespace("old").component("backend")
    await component.create_service()
    await component.endpoint("generate").serve_endpoint(Handler().generate)

@dynamo_worker(static=False)
async def client(runtime: DistributedRuntime):
    client = await runtime.namespace("old").component("backend").endpoint("generate").client()
    ids = await client.wait_for_instances()
    stream = await client.round_robin(Request(text="abc").model_dump_json())
    print([item.data() async for item in stream])
    stream = await client.direct({"text": "xy"}, ids[0])
    print([item.data() async for item in stream])

configure_dynamo_logging()
asyncio.run({"worker": worker, "client": client}[sys.argv[1]]())
"""


async def test_an_old_program_runs_unmodified(place: Place) -> None:
    program = place.directory / "old.py"
    program.write_text(PROGRAM)
    env = {**os.environ, "DYN_DISCOVERY": place.url, "DYN_SCOPE": "p/g", "DYN_RUN_DIR": str(place.directory)}
    worker = await asyncio.create_subprocess_exec(sys.executable, str(program), "worker", env=env)
    try:
        pipe = asyncio.subprocess.PIPE
        client = await asyncio.create_subprocess_exec(sys.executable, str(program), "client", env=env, stdout=pipe)
        async with asyncio.timeout(30):
            output, _ = await client.communicate()
        assert output.decode().splitlines() == ["['a', 'b', 'c']", "['x', 'y']"]
        assert client.returncode == 0
        worker.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await worker.wait() == 0
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()


async def test_the_key_value_cache_follows_its_prefix(place: Place) -> None:
    runtime, other = await bind(await place.runtime()), await bind(await place.runtime())
    etcd = runtime.etcd_client()
    cache = await EtcdKvCache.new(etcd, "/config/", {"a": "1", "b": b"2"})
    again = await EtcdKvCache.new(other.etcd_client(), "/config/", {"a": "other"})
    assert await again.get("a") == b"1"
    await cache.put("a", "changed")
    async with asyncio.timeout(5):
        while await again.get("a") != b"changed":
            await asyncio.sleep(0.005)
    await cache.delete("b")
    async with asyncio.timeout(5):
        while await again.get_all() != {"/config/a": b"changed"}:
            await asyncio.sleep(0.005)
    with pytest.raises(DiscoveryError):
        await etcd.kv_create("/config/a", b"")
    await etcd.kv_create_or_validate("/config/a", b"changed")
    await etcd.kv_put("/leased", b"x", etcd.primary_lease_id())
    assert [item["value"] for item in await other.etcd_client().kv_get_prefix("/leased")] == [b"x"]
    await cache.close()
    await again.close()
    await runtime.plain.shutdown()
    async with asyncio.timeout(5):
        while await other.etcd_client().kv_get_prefix("/leased"):
            await asyncio.sleep(0.005)


def test_old_paths_import() -> None:
    import dynamo._core as core

    for name in core.__all__:
        assert getattr(core, name) is not None
    assert Path(core.__file__ or "").name == "__init__.py"
