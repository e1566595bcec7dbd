from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from dynamo.runtime import DistributedRuntime
from dynamo.sdk import api, depends, dynamo_context, endpoint, service
from dynamo.sdk.errors import NotRunningError
from dynamo.sdk.serving.handlers import request_handler


class Request(BaseModel):
    text: str


@service(dynamo={"namespace": "ns"})
class Backend:
    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    @endpoint()
    async def words(self, req: Request):
        for word in req.text.split():
            yield word

    @endpoint()
    async def once(self, req: Request):
        return req.text

    @endpoint()
    async def endless(self, req):
        try:
            while True:
                yield req
                await asyncio.sleep(0)
        finally:
            self.cancelled.set()

    @endpoint(name="chat/completions")
    async def chat(self, req):
        return req

    @endpoint(name="open")
    async def named_like_a_method(self, req):
        return f"open {req}"

    @api
    async def over_http(self, req: Request): ...


@service
class Caller:
    backend = depends(Backend)


@pytest.fixture
async def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A `Backend` served in this process."""
    async with await DistributedRuntime.connect(f"memory://{tmp_path.name}", run_dir=tmp_path) as runtime:
        monkeypatch.setitem(dynamo_context, "runtime", runtime)
        instance = Backend()
        component = runtime.namespace("ns").component("Backend")
        for name, offered in Backend.get_endpoints().items():
            if offered.on_request_plane:
                handler, kind = request_handler(offered, instance)
                await component.endpoint(name).serve_endpoint(handler, request_type=kind).start()
        monkeypatch.setattr(Caller.dependencies["backend"], "_client", None)
        yield instance


async def test_iterate_for_a_stream_and_await_for_one_item(backend: Any) -> None:
    caller = Caller()
    request = Request(text="a b c")
    assert [word async for word in caller.backend.words(request)] == ["a", "b", "c"]
    assert await caller.backend.once(request) == "a b c"
    assert await caller.backend.words(request) == "a"
    assert [item async for item in caller.backend.once(request)] == ["a b c"]


async def test_ways_to_choose_the_instance(backend: Any) -> None:
    once = Caller().backend.once
    (instance_id,) = (await once.client()).instance_ids()
    for call in (
        once.random({"text": "x"}),
        once.round_robin({"text": "x"}),
        once.direct({"text": "x"}, instance_id),
        once({"text": "x"}, timeout=5),
    ):
        assert await call == "x"


async def test_names(backend: Any) -> None:
    client = Caller().backend
    assert await client.chat("by method") == "by method"
    assert await client.endpoint("chat/completions")("by name") == "by name"
    assert await client.open("x") == "open x"
    assert client.words is client.words, "callers are made once"
    assert Caller().backend is client, "and so is the client"
    with pytest.raises(
        AttributeError, match=r"no endpoint 'wrods'; it has words, once, endless, chat/completions, open$"
    ):
        _ = client.wrods
    with pytest.raises(AttributeError, match="'over_http' of service 'Backend' is served over HTTP only"):
        _ = client.over_http


@pytest.mark.parametrize("how", ["close", "drop", "cancel"])
async def test_nobody_reading_on_cancels_the_handler(backend: Any, how: str) -> None:
    call = Caller().backend.endless(1)
    assert await anext(call) == 1
    if how == "close":
        await call.aclose()
    elif how == "drop":
        del call
        gc.collect()
    else:

        async def read_on() -> None:
            async for _ in call:
                pass

        task = asyncio.create_task(read_on())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(5):
        await backend.cancelled.wait()


async def test_outside_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(dynamo_context, "runtime", raising=False)
    monkeypatch.setattr(Caller.dependencies["backend"], "_client", None)
    with pytest.raises(NotRunningError, match=r"Backend\.once was called outside a running replica"):
        await Caller().backend.once({"text": "x"})
