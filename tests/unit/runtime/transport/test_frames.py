from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamo.runtime.transport import frames
from dynamo.runtime.transport.frames import FrameReader, ProtocolError

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
pairs = st.lists(st.tuples(st.integers(-11, 2**32), values), min_size=1, max_size=8)


def frame(content: list[tuple[int, Any]]) -> bytes:
    out = bytearray(frames.PREFIX)
    for key, body in content:
        out += msgspec.msgpack.encode(key)
        out += msgspec.msgpack.encode(body)
    frames.seal(out, len(content))
    return bytes(out)


def feed(reader: FrameReader, data: bytes, cuts: list[int]) -> list[list[Any]]:
    """Hand `data` over in pieces whose sizes `cuts` gives, as far as the reader's buffer takes them."""
    received: list[list[Any]] = []
    position = 0
    sizes = iter(cuts)
    while position < len(data):
        buffer = reader.buffer()
        assert len(buffer) > 0
        size = min(len(buffer), len(data) - position, next(sizes, 1 << 20))
        buffer[:size] = data[position : position + size]
        received.extend(reader.received(size))
        position += size
    return received


@given(st.lists(pairs, min_size=1, max_size=6), st.lists(st.integers(1, 300), max_size=60))
def test_frames_survive_any_segmentation(contents: list[list[tuple[int, Any]]], cuts: list[int]) -> None:
    data = b"".join(frame(content) for content in contents)
    received = feed(FrameReader(), data, cuts)
    assert received == [[part for pair in content for part in pair] for content in contents]


@pytest.mark.parametrize("size", [1, 65_526, 65_527, 65_528, 200_000, 5 << 20])
def test_big_and_small_frames_mix(size: int) -> None:
    big = frame([(1, b"x" * size)])
    small = frame([(2, "y")])
    received = feed(FrameReader(), small + big + small + small + big + small, [100, 3, 70_000])
    assert [entry[0] for entry in received] == [2, 1, 2, 2, 1, 2]
    assert all(len(entry[1]) == size for entry in received if entry[0] == 1)


@settings(max_examples=300)
@given(st.binary(max_size=400), st.lists(st.integers(1, 50), max_size=20))
def test_random_bytes_give_frames_or_one_error(data: bytes, cuts: list[int]) -> None:
    with contextlib.suppress(ProtocolError):
        for received in feed(FrameReader(max_frame=10_000), data, cuts):
            assert len(received) % 2 == 0


@given(pairs, st.data())
def test_a_truncated_frame_is_not_delivered(content: list[tuple[int, Any]], data: st.DataObject) -> None:
    whole = frame(content)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert feed(FrameReader(), whole[:cut], []) == []


def test_a_frame_over_the_limit_is_refused_by_its_header() -> None:
    with pytest.raises(ProtocolError, match="a frame of 1001 bytes is over the limit of 1000"):
        feed(FrameReader(max_frame=1000), (1001).to_bytes(4, "big"), [])


@pytest.mark.parametrize("body", [b"\xc1", b"\x01", b"\x91\x01", b"\x92\x01", b"\x92\x01\x81\x80\x01"])
def test_what_is_not_an_array_of_pairs_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        feed(FrameReader(), len(body).to_bytes(4, "big") + body, [])
