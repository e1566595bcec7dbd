from __future__ import annotations

import msgspec
import pytest

from dynamo_tui.client import calls, streams
from dynamo_tui.client.errors import ApiError, Conflict, Gone, Invalid, NotFound, ProtocolError, VersionMismatch
from dynamo_tui.client.exchange import read_answer
from dynamod.schema.daemon import API_VERSION_HEADER, Problem
from dynamod.schema.graphs import Page
from dynamod.schema.observations import LogGap
from tests.unit.dynamo_tui import sample


def test_path_segments_and_query_are_quoted_and_none_is_left_out() -> None:
    call = calls.logs("a/b c", service="W", regex="x=1&y", since=1.5, project="p")
    assert call.target == "/v1/graphs/a%2Fb%20c/logs?project=p&service=W&since=1.5&regex=x%3D1%26y"
    assert streams.kv("g").target == "/v1/graphs/g/kv/stream?project=default"
    assert calls.shutdown(stop_graphs=True).target == "/v1/shutdown?stop_graphs=true"


def test_bodies_and_conditions() -> None:
    call = calls.scale("g", "Worker", 3, if_match='"7"')
    assert call.body == b'{"replicas":3}'
    assert call.headers == {"If-Match": '"7"'}
    assert calls.scale("g", "Worker", 3).headers == {}


def test_a_page_round_trips() -> None:
    page = Page(items=[sample.graph()], next="n")
    answer = read_answer(calls.graphs(), 200, {"etag": '"1"'}, msgspec.json.encode(page))
    assert answer.value == page
    assert answer.etag == '"1"'


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFound), (409, Conflict), (412, Conflict), (410, Gone), (422, Invalid), (500, ApiError)],
)
def test_a_refusal_is_typed_and_carries_the_problem(status: int, kind: type[ApiError]) -> None:
    problem = Problem(type="t", title="T", status=status, detail="no such graph 'x'", field="graph", remedy="do y")
    with pytest.raises(kind) as caught:
        read_answer(calls.graphs(), status, {}, msgspec.json.encode(problem))
    assert str(caught.value) == "no such graph 'x'"
    assert caught.value.remedy == "do y"
    assert caught.value.status == status


def test_a_refusal_without_problem_document_still_reads() -> None:
    with pytest.raises(ApiError, match="bad gateway"):
        read_answer(calls.graphs(), 502, {}, b"bad gateway")


def test_what_is_not_the_api_is_said_to_be_so() -> None:
    with pytest.raises(ProtocolError, match="GET /v1/graphs"):
        read_answer(calls.graphs(), 200, {}, b"<html>")
    with pytest.raises(VersionMismatch):
        read_answer(calls.graphs(), 200, {API_VERSION_HEADER.lower(): "99"}, b"")


def test_stream_events_decode_by_name_and_strangers_are_passed_over() -> None:
    from dynamo_tui.client.sse import ServerEvent

    call = streams.logs("g")
    assert call.decode(ServerEvent("gap", b'{"type":"gap","skipped":12}')) == LogGap(skipped=12)
    assert call.decode(ServerEvent("news", b"{}")) is None
    with pytest.raises(ProtocolError):
        call.decode(ServerEvent("line", b"{}"))
