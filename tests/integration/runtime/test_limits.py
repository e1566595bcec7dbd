"""Deadlines, cancellation, selection, concurrency limits, back-pressure, drain: one discovery server, real sockets."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dynamo.runtime import DistributedRuntime, RequestContext
from dynamo.runtime.errors import DeadlineExceeded, FrameTooLarge, InstanceUnavailable, InvalidPayload, Overloaded
from tests.integration.runtime.conftest import Place


async def eventually(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


class Endless:
    """A handler whose life can be observed."""

    def __init__(self) -> None:
        self.running = 0
        self.produced = 0

    async def __call__(self, payload: Any) -> AsyncIterator[Any]:
        self.running += 1
        try:
            while True:
                self.produced += 1
                yield payload
                await asyncio.sleep(0)
        finally:
            self.running -= 1


async def serve(runtime: DistributedRuntime, name: str, handler: Any, **options: Any) -> int:
    await runtime.namespace("ns").component("c").endpoint(name).serve_endpoint(handler, **options)
    return await runtime.instance_id()


@pytest.mark.parametrize("how", ["cancel", "drop", "task", "close"])
async def test_a_caller_that_goes_away_cancels_the_handler(place: Place, how: str) -> None:
    server, caller = await place.runtime(), await place.runtime()
    handler = Endless()
    await serve(server, "endless", handler.__call__)
    client = await caller.namespace("ns").component("c").endpoint("endless").client()

    async def read() -> None:
        async for _ in await client.generate("x"):
            pass

    if how == "task":
        task = asyncio.create_task(read())
        await eventually(lambda: handler.produced > 10)
        task.cancel()
    else:
        stream = await client.generate("x")
        await anext(stream)
        if how == "cancel":
            stream.cancel()
        elif how == "drop":
            del stream
            gc.collect()
        else:
            await caller.shutdown()
    await eventually(lambda: handler.running == 0, 2.0)


async def test_a_slow_reader_stops_its_producer_and_nobody_else(place: Place) -> None:
    server, caller = await place.runtime(), await place.runtime()
    small, big = Endless(), Endless()
    await serve(server, "small", small.__call__)
    await serve(server, "big", big.__call__)

    async def echo(payload: Any) -> Any:
        return payload

    await serve(server, "echo", echo)
    component = caller.namespace("ns").component("c")
    slow = await (await component.endpoint("small").client()).generate("item")
    slow_big = await (await component.endpoint("big").client()).generate("x" * 100_000)
    await anext(slow)
    await anext(slow_big)
    before = -1
    while before != small.produced + big.produced:  # until neither moves any more
        before = small.produced + big.produced
        await asyncio.sleep(0.1)
    assert small.produced <= 2 * 256 + 2
    assert big.produced * 100_000 <= 3 * 256 * 4096
    client = await component.endpoint("echo").client()
    for number in range(100):
        assert await (await client.generate(number)).one() == number
    for _ in range(2000):
        await anext(slow)
    assert small.produced >= 2000


async def test_deadlines_end_both_sides_and_travel_along(place: Place) -> None:
    server, caller = await place.runtime(), await place.runtime()
    handler = Endless()
    await serve(server, "endless", handler.__call__)
    remaining: list[float | None] = []

    async def outer(payload: Any, context: RequestContext) -> Any:
        inner = await server.namespace("ns").component("c").endpoint("inner").client()
        try:
            return await (await inner.generate(payload)).one()
        finally:
            await inner.close()

    async def inner(payload: Any, context: RequestContext) -> dict[str, Any]:
        remaining.append(context.remaining())
        return {"id": context.id, "trace": context.traceparent, "tenant": context.headers.get("tenant")}

    await serve(server, "outer", outer)
    await serve(server, "inner", inner)
    component = caller.namespace("ns").component("c")
    with pytest.raises(DeadlineExceeded, match="deadline"):
        async for _ in await component.endpoint("endless").client().generate("x", timeout=0.1):
            pass
    await eventually(lambda: handler.running == 0)
    answer = await (
        await component.endpoint("outer")
        .client()
        .generate("x", timeout=30.0, request_id="req-1", headers={"tenant": "blue"})
    ).one()
    assert answer == {"id": "req-1", "trace": "", "tenant": "blue"}
    assert remaining[0] is not None
    assert 20 < remaining[0] <= 30


async def test_trace_context_is_passed_on(place: Place) -> None:
    server, caller = await place.runtime(), await place.runtime()

    async def inner(payload: Any, context: RequestContext) -> str:
        return context.traceparent

    async def outer(payload: Any, context: RequestContext) -> Any:
        context.traceparent = payload
        client = await server.namespace("ns").component("c").endpoint("inner").client()
        return await (await client.generate(None)).one()

    await serve(server, "inner", inner)
    await serve(server, "outer", outer)
    client = await caller.namespace("ns").component("c").endpoint("outer").client()
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert await (await client.generate(parent)).one() == parent


async def test_selection_policies(place: Place) -> None:
    caller = await place.runtime()
    servers = [await place.runtime() for _ in range(3)]
    ids = []
    release = asyncio.Event()
    for server in servers:

        async def who(payload: Any, context: RequestContext) -> int:
            return context.instance_id

        async def hold(payload: Any, context: RequestContext) -> int:
            await release.wait()
            return context.instance_id

        ids.append(await serve(server, "who", who))
        await serve(server, "hold", hold)
    component = caller.namespace("ns").component("c")
    client = await component.endpoint("who").client()
    await eventually(lambda: len(client.instance_ids()) == 3)
    turns = Counter([await (await client.round_robin()).one() for _ in range(9)])
    assert sorted(turns.values()) == [3, 3, 3]
    assert {await (await client.random()).one() for _ in range(60)} == set(ids)
    assert await (await client.direct(None, ids[1])).one() == ids[1]
    with pytest.raises(InstanceUnavailable):
        await client.direct(None, 12345)
    keys = {f"user-{n}": await (await client.sticky(None, f"user-{n}")).one() for n in range(30)}
    assert len(set(keys.values())) == 3
    held = await component.endpoint("hold").client()
    await eventually(lambda: len(held.instance_ids()) == 3)
    waiting = [await held.least_loaded() for _ in range(6)]
    assert sorted(Counter(stream.instance_id for stream in waiting).values()) == [2, 2, 2]
    release.set()
    for stream in waiting:
        await stream.one()
    await servers[0].shutdown()
    await eventually(lambda: len(client.instance_ids()) == 2)
    moved = [key for key, before in keys.items() if await (await client.sticky(None, key)).one() != before]
    assert {keys[key] for key in moved} == {ids[0]}


async def test_busy_instances_are_left_alone_and_draining_ones_are_never_chosen(place: Place) -> None:
    first, second, caller = await place.runtime(), await place.runtime(), await place.runtime()

    async def who(payload: Any, context: RequestContext) -> int:
        return context.instance_id

    served = [await r.namespace("ns").component("c").endpoint("who").serve_endpoint(who) for r in (first, second)]
    ids = [await first.instance_id(), await second.instance_id()]
    client = await caller.namespace("ns").component("c").endpoint("who").client()
    await eventually(lambda: len(client.instance_ids()) == 2)

    async def until_chosen(expected: set[int]) -> None:
        async with asyncio.timeout(5):
            while {await (await client.generate()).one() for _ in range(4)} != expected:
                pass

    await until_chosen(set(ids))
    await served[0].set_status("busy")
    await until_chosen({ids[1]})
    await served[1].set_status("draining")
    await until_chosen({ids[0]})
    await served[0].set_status("ready")
    await served[1].set_status("ready")
    await until_chosen(set(ids))


async def test_client_limits_queue_and_refuse(place: Place) -> None:
    server, caller = await place.runtime(), await place.runtime()
    release = asyncio.Event()

    async def hold(payload: Any) -> Any:
        await release.wait()
        return payload

    await serve(server, "hold", hold, limit=3)
    endpoint = caller.namespace("ns").component("c").endpoint("hold")
    client = await endpoint.client(limit=2, queue=1)
    running = [await client.generate(n) for n in range(2)]
    queued = asyncio.create_task(client.generate(2))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="ns/c/hold"):
        await client.generate(3)
    other = await endpoint.client()
    third = await other.generate("third")
    with pytest.raises(Overloaded, match="runs 3 requests already"):
        await (await other.generate("fourth")).one()
    release.set()
    assert [await stream.one() for stream in running] == [0, 1]
    assert await (await queued).one() == 2
    assert await third.one() == "third"


async def test_drain_refuses_new_requests_and_lets_running_ones_end(place: Place) -> None:
    leaving, staying, caller = await place.runtime(), await place.runtime(), await place.runtime()
    release = asyncio.Event()

    async def work(payload: Any, context: RequestContext) -> AsyncIterator[int]:
        yield context.instance_id
        await release.wait()
        yield context.instance_id

    first = await serve(leaving, "work", work)
    client = await caller.namespace("ns").component("c").endpoint("work").client()
    running = await client.direct(None, first)
    assert await anext(running) == first
    second = await serve(staying, "work", work)
    assert not await leaving.drain(0.05)
    draining = asyncio.create_task(leaving.drain(10))
    for _ in range(5):
        async with await client.generate(None) as stream:
            assert await anext(stream) == second
    release.set()
    assert [item async for item in running] == [first]
    assert await draining


async def test_too_large_and_ill_typed_payloads_are_refused_by_name(place: Place, monkeypatch: Any) -> None:
    monkeypatch.setenv("DYN_MAX_FRAME", "200000")
    server, caller = await place.runtime(), await place.runtime()

    async def repeat(payload: dict[str, int]) -> str:
        return "x" * payload["times"]

    await serve(server, "repeat", repeat, request_type=dict[str, int])
    client = await caller.namespace("ns").component("c").endpoint("repeat").client()
    with pytest.raises(FrameTooLarge, match=r"ns/c/repeat.*over the limit of 200000"):
        await client.generate({"x" * 300_000: 1})
    with pytest.raises(FrameTooLarge, match="over the limit"):
        await (await client.generate({"times": 300_000})).one()
    with pytest.raises(InvalidPayload, match=r"Expected `int`, got `str`"):
        await (await client.generate({"times": "many"})).one()
    assert len(await (await client.generate({"times": 150_000})).one()) == 150_000
