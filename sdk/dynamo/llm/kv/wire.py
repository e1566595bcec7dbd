"""Cache changes on the wire.

`[tag, rank, hashes]` with the tag "s" (stored), "r" (removed) or "c" (cleared, without hashes), and the sequence
hashes as one string of little-endian unsigned 64-bit integers: eight bytes a block, read in one go.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from dynamo.llm.kv.mirror import CacheChange, Emptied, Gone, Held


@lru_cache(maxsize=1024)
def _words(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}Q")


class MalformedChange(ValueError):
    """What arrived is not a cache change."""


def _pack(hashes: Sequence[int]) -> bytes:
    return _words(len(hashes)).pack(*hashes)


def encode_changes(changes: Iterable[CacheChange]) -> list[tuple[Any, ...]]:
    """Ready for msgpack."""
    out: list[tuple[Any, ...]] = []
    for change in changes:
        if isinstance(change, Held):
            out.append(("s", change.dp_rank, _pack(change.hashes)))
        elif isinstance(change, Gone):
            out.append(("r", change.dp_rank, _pack(change.hashes)))
        else:
            out.append(("c", change.dp_rank))
    return out


def decode_changes(items: Iterable[Any]) -> list[CacheChange]:
    """Raises MalformedChange."""
    return [_decode(item) for item in items]


def _decode(item: Any) -> CacheChange:
    try:
        tag, rank = item[0], int(item[1])
        if tag == "c":
            return Emptied(rank)
        hashes = _words(len(item[2]) >> 3).unpack(item[2])
    except (TypeError, ValueError, IndexError, KeyError, struct.error) as error:
        raise MalformedChange(f"not a cache change: {item!r:.80} ({error})") from None
    if tag == "s":
        return Held(rank, hashes)
    if tag == "r":
        return Gone(rank, hashes)
    raise MalformedChange(f"unknown kind of cache change: {tag!r}")
