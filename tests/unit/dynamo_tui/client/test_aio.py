from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from dynamo_tui.client import calls, streams
from dynamo_tui.client.aio import AsyncClient
from dynamo_tui.client.contexts import Context
from dynamo_tui.client.errors import Gone, NotFound, StreamLost, Unreachable
from dynamo_tui.client.resume import ConnectionState
from dynamod.schema.graphs import Page
from tests.unit.dynamo_tui import sample
from tests.unit.dynamo_tui.client.test_sync import at, sse
from tests.unit.dynamo_tui.standin import Asked, Reply, StandIn


async def test_calls_and_refusals(daemon: StandIn) -> None:
    daemon.answer("GET /v1/graphs", Page(items=[sample.graph()]), ETag='"3"')
    async with AsyncClient(at(daemon)) as client:
        answer = await client.answer(calls.graphs())
        assert answer.value.items[0].name == "hello"
        assert answer.etag == '"3"'
        with pytest.raises(NotFound):
            await client.send(calls.graph("x"))


async def test_nobody_there(daemon: StandIn) -> None:
    async with AsyncClient(Context(socket=str(daemon.socket) + "x")) as client:
        with pytest.raises(Unreachable):
            await client.send(calls.graphs())
        with pytest.raises(Unreachable):
            await anext(client.stream(streams.events()))


async def test_following_resumes_and_says_what_the_connection_does(daemon: StandIn) -> None:
    def events(asked: Asked) -> Reply:
        start = int(asked.headers.get("Last-Event-ID", 0))
        return Reply(chunks=sse(start + 1, start + 2))

    daemon.routes["GET /v1/events/stream"] = events
    states: list[ConnectionState] = []
    seen: list[int] = []
    async with AsyncClient(at(daemon)) as client:
        async with aclosing(client.follow(streams.events(), on_connection=states.append)) as items:
            async for item in items:
                seen.append(item.seq)
                if item.seq == 5:
                    break
        with pytest.raises(StreamLost):
            async for _ in client.stream(streams.events(), last_event_id="40"):
                pass
    assert seen == [1, 2, 3, 4, 5]
    assert [s.connected for s in states] == [True, False, True, False, True]
    assert daemon.asked[-1].headers["Last-Event-ID"] == "40"


async def test_following_waits_for_a_daemon_that_is_away_and_gone_ends_it(daemon: StandIn) -> None:
    daemon.answer("GET /v1/events/stream", {"type": "gone", "title": "too old", "status": 410}, status=410)
    async with AsyncClient(at(daemon)) as client:
        with pytest.raises(Gone):
            await anext(client.follow(streams.events(after=1)))
    lost = asyncio.Event()
    async with AsyncClient(Context(socket=str(daemon.socket) + "x")) as client:
        task = asyncio.create_task(
            anext(client.follow(streams.events(), on_connection=lambda s: None if s.connected else lost.set()))
        )
        await asyncio.wait_for(lost.wait(), 10)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_waiting_stream_can_be_cancelled(daemon: StandIn) -> None:
    release = threading.Event()

    def quiet() -> Iterator[bytes]:
        yield sse(1)[0]
        release.wait(20)

    daemon.routes["GET /v1/events/stream"] = lambda _: Reply(chunks=quiet())
    async with AsyncClient(at(daemon)) as client, aclosing(client.stream(streams.events())) as stream:
        assert (await anext(stream)).seq == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.1)
    release.set()
