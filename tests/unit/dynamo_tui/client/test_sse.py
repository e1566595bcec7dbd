from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo_tui.client import sse
from dynamo_tui.client.sse import EventParser, EventTooLarge, ServerEvent

STREAM = (
    b'\xef\xbb\xbf: hello\n\nid: 7\nevent: line\ndata: {"a":1}\n\n'
    b"data: one\r\ndata:two\r\n\r\nid\ndata\n\nretry: 250\nnope: x\n\n"
)
EVENTS = [
    ServerEvent("line", b'{"a":1}', "7"),
    ServerEvent("message", b"one\ntwo", "7"),
    ServerEvent("message", b"", ""),
]


def test_reads_events_comments_and_every_line_end() -> None:
    parser = EventParser()
    assert parser.feed(STREAM) == EVENTS
    assert parser.retry_s == 0.25


@given(st.lists(st.integers(1, len(STREAM)), max_size=12))
def test_the_cut_of_the_bytes_does_not_matter(cuts: list[int]) -> None:
    parser = EventParser()
    edges = [0, *sorted(set(cuts)), len(STREAM)]
    events = [e for a, b in pairwise(edges) for e in parser.feed(STREAM[a:b])]
    assert events == EVENTS


def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    parser = EventParser()
    parser.feed(b"data: " + b"x" * 80 + b"\n")
    with pytest.raises(EventTooLarge):
        parser.feed(b"data: " + b"x" * 80 + b"\n")
