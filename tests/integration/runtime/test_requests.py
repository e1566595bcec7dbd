from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from dynamo.runtime.errors import EndpointError, InstanceLost, InvalidPayload, NoInstances
from tests.integration.runtime.conftest import Place


@pytest.mark.parametrize("mode", ["plain", "asyncio"])
async def test_unary_and_stream_across_processes(place: Place, mode: str) -> None:
    await place.worker(mode)
    component = (await place.runtime()).namespace("ns").component("worker")
    echo = await component.endpoint("echo").client()
    payload = {"text": "grüß", "n": [1, 2.5, None, True], "raw": b"\x00"}
    assert await (await echo.generate(payload)).one() == payload
    count = component.endpoint("count").client()
    assert [item async for item in await count.random(1000)] == list(range(1000))


@pytest.mark.parametrize("unreachable", ["another host", "a socket that is gone"])
async def test_tcp_is_used_where_the_unix_socket_is_not(place: Place, unreachable: str) -> None:
    elsewhere = {"DYN_HOST_ID": "elsewhere"} if unreachable == "another host" else {}
    worker = await place.worker(DYN_TCP_HOST="127.0.0.1", **elsewhere)
    client = await (await place.runtime()).namespace("ns").component("worker").endpoint("pid").client()
    (instance,) = client.instances()
    assert instance.address.tcp.startswith("127.0.0.1:")
    if not elsewhere:
        Path(instance.address.unix).unlink()
    assert await (await client.generate()).one() == worker.pid


async def test_a_client_waits_for_its_first_instance(place: Place) -> None:
    runtime = await place.runtime()
    client = runtime.namespace("ns").component("worker").endpoint("echo").client()
    answer = asyncio.create_task(client.generate("early"))
    await place.worker()
    assert await (await answer).one() == "early"
    nobody = runtime.namespace("ns").component("other").endpoint("x").client(wait=0.1)
    with pytest.raises(NoInstances, match="ns/other/x: no instance in"):
        await nobody.generate(1)


async def test_errors_keep_type_and_message_and_leave_the_connection_usable(place: Place) -> None:
    await place.worker()
    component = (await place.runtime()).namespace("ns").component("worker")
    with pytest.raises(EndpointError, match="KeyError: 'no'") as caught:
        await (await component.endpoint("fail").client().generate("no")).one()
    assert caught.value.error_type == "KeyError"
    assert caught.value.endpoint == "ns/worker/fail"
    assert caught.value.instance
    items = []
    with pytest.raises(EndpointError, match="after one item"):
        async for item in await component.endpoint("fail_later").client().generate(None):
            items.append(item)
    assert items == [1]
    with pytest.raises(InvalidPayload, match="item 1 cannot be encoded"):
        [item async for item in await component.endpoint("unsendable").client().generate(None)]
    echo = component.endpoint("echo").client()
    with pytest.raises(InvalidPayload, match="cannot be encoded"):
        await echo.generate(object())
    assert await (await echo.generate(1)).one() == 1


async def test_a_killed_worker_is_gone_at_once(place: Place) -> None:
    """A stream that began ends with a typed error; one that had not goes to another instance."""
    first = await place.worker()
    runtime = await place.runtime()
    component = runtime.namespace("ns").component("worker")
    ticks = component.endpoint("ticks").client()
    stream = await ticks.generate(0.01)
    assert await anext(stream) == 0
    there = place.directory / "there"
    waiting = await component.endpoint("when_there").client().generate(str(there))
    second = await place.worker()
    while len(ticks.instance_ids()) < 2:
        await asyncio.sleep(0.01)
    first.signal(signal.SIGKILL)
    killed = time.monotonic()
    with pytest.raises(InstanceLost):
        async for _ in stream:
            pass
    while len(ticks.instance_ids()) > 1:
        await asyncio.sleep(0.005)
    assert time.monotonic() - killed < 2
    there.touch()
    assert await waiting.one() == second.pid
