"""The event feed over SSE: gapless, resumable, gone, and slow consumers told."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import httpx
import msgspec
import pytest

from dynamod.engine.feed import Feed
from dynamod.schema import Action, Event, Locations
from dynamod.serving import Serving
from tests.unit.dynamod.api.graph import submission
from tests.unit.dynamod.api.sse import stream


def decoded(raw: bytes) -> Event:
    return msgspec.json.decode(raw, type=Event)


async def test_a_stream_begins_where_it_was_left_and_misses_nothing(client: httpx.AsyncClient) -> None:
    async with stream(client, "/v1/events/stream", after=0) as events:
        first = await events.next()
        assert (first.event, first.id) == ("event", "1")
        await client.post("/v1/graphs", json=submission("one"))
        seen = [first, *(await events.take(2))]
    await client.post("/v1/graphs", json=submission("two"))
    async with stream(client, "/v1/events/stream", last_id=seen[-1].id) as events:
        seen += await events.take(2)
    assert [int(event.id or 0) for event in seen] == list(range(1, 6))
    assert [decoded(event.data).seq for event in seen] == list(range(1, 6))


async def test_last_event_id_wins_over_after(client: httpx.AsyncClient) -> None:
    await client.post("/v1/graphs", json=submission("one"))
    async with stream(client, "/v1/events/stream", after=0, last_id="2") as events:
        assert (await events.next()).id == "3"


async def test_a_filtered_stream_tells_only_of_its_graph(client: httpx.AsyncClient) -> None:
    async with stream(client, "/v1/events/stream", after=0, graph="two") as events:
        await client.post("/v1/graphs", json=submission("one"))
        await client.post("/v1/graphs", json=submission("two"))
        assert decoded((await events.next()).data).graph == "two"
    page = (await client.get("/v1/events", params={"after": 0, "graph": "one", "action": "graph.created"})).json()
    assert [event["graph"] for event in page["items"]] == ["one"]


async def test_the_actor_of_a_change_is_in_the_trail(client: httpx.AsyncClient) -> None:
    await client.post("/v1/graphs", json=submission())
    page = (await client.get("/v1/events", params={"after": 0, "action": "graph.created"})).json()
    assert page["items"][0]["actor"].startswith("user:")


async def test_events_that_are_gone_are_answered_as_such(client: httpx.AsyncClient, where: Locations) -> None:
    for n in range(3):
        await client.post("/v1/graphs", json=submission(f"g{n}"))
    with closing(sqlite3.connect(where.database)) as database:
        database.execute("DELETE FROM events WHERE seq < 5")
        database.commit()
    for path in ("/v1/events?after=1", "/v1/events/stream?after=1"):
        refused = await client.get(path)
        assert refused.status_code == 410, refused.text
        assert refused.json()["type"] == "urn:dynamod:problem:gone"
        assert "snapshot" in refused.json()["remedy"]


async def test_a_place_beyond_the_last_event_is_another_store_s(client: httpx.AsyncClient, daemon: Serving) -> None:
    last = daemon.engine.last_seq
    assert (await client.get("/v1/events", params={"after": last})).json()["items"] == []
    for refused in (
        await client.get("/v1/events", params={"after": last + 1}),
        await client.get("/v1/events/stream", params={"after": last + 1}),
        await client.get("/v1/events/stream", headers={"Last-Event-ID": str(last + 1000)}),
    ):
        assert refused.status_code == 410, refused.text
        assert refused.json()["type"] == "urn:dynamod:problem:gone"
        assert f"whose last is {last}" in refused.json()["detail"]


@pytest.mark.parametrize("bad", ["x", "-1", "1.5", "99999999999999999999"])
async def test_a_bad_last_event_id_is_refused(client: httpx.AsyncClient, bad: str) -> None:
    refused = await client.get("/v1/events/stream", headers={"Last-Event-ID": bad})
    assert refused.status_code == 422
    assert refused.json()["field"] == "Last-Event-ID"


async def test_a_slow_consumer_is_dropped_told_why_and_costs_no_memory(
    client: httpx.AsyncClient, daemon: Serving, where: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed: Feed = daemon.engine.core.feed
    monkeypatch.setattr(feed, "_backlog", 50)
    reader, writer = await _open(where, "/v1/events/stream")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert b"200 OK" in head
    big = Event(seq=0, at=datetime.now(UTC), actor="engine", action=Action.GRAPH_STATE, message="x" * 20_000)
    last = feed.last_seq
    for n in range(2000):
        feed.publish([msgspec.structs.replace(big, seq=last + 1 + n)])
        if n % 40 == 0:
            await asyncio.sleep(0)
    assert len(feed._subscriptions) <= 1
    text = await asyncio.wait_for(_drain(reader), 60)
    writer.close()
    assert b"event: problem" in text
    assert b"slow-consumer" in text


async def test_stopping_the_daemon_ends_its_streams_cleanly(client: httpx.AsyncClient, daemon: Serving) -> None:
    async with stream(client, "/v1/events/stream", after=0) as events:
        await events.next()
        daemon.engine.core.feed.close()
        with pytest.raises(StopAsyncIteration):
            while True:
                await events.next()


async def _open(where: Locations, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that reads only when it is told to, with a small buffer of its own."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, str(where.api_socket))
    reader, writer = await asyncio.open_connection(sock=connection, limit=1024)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return reader, writer


async def _drain(reader: asyncio.StreamReader) -> bytes:
    """Everything up to the end of the chunked answer."""
    text = b""
    while not text.endswith(b"0\r\n\r\n"):
        piece = await reader.read(1 << 20)
        if not piece:
            break
        text += piece
    return text
