from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest

from dynamo_tui.client import calls, streams
from dynamo_tui.client.contexts import Context
from dynamo_tui.client.errors import Gone, NotFound, StreamLost, Unreachable
from dynamo_tui.client.sync import Client
from dynamod.schema.graphs import Page
from tests.unit.dynamo_tui import sample
from tests.unit.dynamo_tui.standin import Asked, Reply, StandIn


def at(daemon: StandIn, **options: str) -> Context:
    return Context(socket=str(daemon.socket), **options)


def sse(*seqs: int) -> list[bytes]:
    return [b"id: %d\nevent: event\ndata: %s\n\n" % (n, msgspec.json.encode(sample.event(n))) for n in seqs]


def test_calls_go_over_one_connection_and_survive_its_end(daemon: StandIn) -> None:
    daemon.answer("GET /v1/graphs", Page(items=[sample.graph()]))
    with Client(at(daemon, token="t0ken")) as client:
        assert client.send(calls.graphs()).items[0].name == "hello"
        daemon.answer("GET /v1/graphs", Page(items=[sample.graph("bye")]), Connection="close")
        assert client.send(calls.graphs()).items[0].name == "bye"
        assert client.send(calls.graphs()).items[0].name == "bye"
    assert daemon.asked[0].headers["Authorization"] == "Bearer t0ken"
    assert daemon.asked[0].headers["Dynamod-API-Version"] == "1"


def test_refusals_reach_the_caller_typed(daemon: StandIn) -> None:
    with Client(at(daemon)) as client, pytest.raises(NotFound):
        client.send(calls.graph("x"))


def test_nobody_there_is_one_line_with_a_remedy(daemon: StandIn) -> None:
    context = Context(socket=str(daemon.socket) + "x")
    with Client(context) as client, pytest.raises(Unreachable) as caught:
        client.send(calls.graphs())
    assert "No such file" in str(caught.value)
    assert "dynamoctl daemon start" in caught.value.remedy


def test_a_stream_breaks_with_a_typed_error_and_following_resumes_without_gap(daemon: StandIn) -> None:
    def events(asked: Asked) -> Reply:
        start = int(asked.headers.get("Last-Event-ID", 0))
        return Reply(chunks=sse(start + 1, start + 2))

    daemon.routes["GET /v1/events/stream"] = events
    with Client(at(daemon)) as client:
        got: list[int] = []
        with pytest.raises(StreamLost), client.stream(streams.events()) as items:
            got.extend(e.seq for e in items)
        assert got == [1, 2]
        waits: list[float] = []
        following = client.follow(streams.events(), pause=lambda error, delay: waits.append(delay))
        assert [next(following).seq for _ in range(6)] == [1, 2, 3, 4, 5, 6]
        assert waits
        assert all(0 < w <= 5 for w in waits)
        following.close()  # type: ignore[attr-defined]


def test_gone_ends_following(daemon: StandIn) -> None:
    daemon.answer("GET /v1/events/stream", {"type": "gone", "title": "too old", "status": 410}, status=410)
    with Client(at(daemon)) as client, pytest.raises(Gone):
        next(client.follow(streams.events(after=1), pause=lambda error, delay: None))


def test_a_stream_is_cancelled_from_another_thread(daemon: StandIn) -> None:
    release = threading.Event()

    def quiet() -> Iterator[bytes]:
        yield sse(1)[0]
        release.wait(20)

    daemon.routes["GET /v1/events/stream"] = lambda _: Reply(chunks=quiet())
    with Client(at(daemon)) as client:
        stream = client.stream(streams.events())
        assert next(stream).seq == 1
        timer = threading.Timer(0.05, stream.close)
        timer.start()
        with pytest.raises(StreamLost):
            next(stream)
        timer.join()
    release.set()
