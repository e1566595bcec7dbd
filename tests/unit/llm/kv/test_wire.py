from __future__ import annotations

import msgspec
import pytest

from dynamo.llm.kv.mirror import Emptied, Gone, Held
from dynamo.llm.kv.wire import MalformedChange, decode_changes, encode_changes


def test_round_trip_through_msgpack() -> None:
    changes = [Held(0, (1, 2**64 - 1)), Gone(3, (7,)), Emptied(1), Held(0, ())]
    packed = msgspec.msgpack.encode(encode_changes(changes))
    assert decode_changes(msgspec.msgpack.decode(packed)) == changes


def test_eight_bytes_a_block() -> None:
    packed = msgspec.msgpack.encode(encode_changes([Held(0, list(range(1000)))]))
    assert len(packed) < 8 * 1000 + 16


@pytest.mark.parametrize(
    "bad", [["s", 0], ["s", 0, b"1234567"], ["s", 0, b"", 1], ["x", 0, b""], "s", 3, ["s", "a", b""], {"a": 1}]
)
def test_anything_else_is_refused(bad: object) -> None:
    with pytest.raises(MalformedChange, match="cache change"):
        decode_changes([bad])
