"""Cache changes on the wire.

`[tag, rank, hashes]` with the tag "s" (stored), "r" (removed) or "c" (cleared, without hashes), and the sequence
hashes as one string of little-endian unsigned 64-bit integers: eight bytes a block, read in one go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from dynamo.llm.kv.mirror import CacheChange, Emptied, Gone, Held

_U64 = np.dtype("<u8")


class MalformedChange(ValueError):
    """What arrived is not a cache change."""


def encode_changes(changes: Iterable[CacheChange]) -> list[tuple[Any, ...]]:
    """Ready for msgpack."""
    out: list[tuple[Any, ...]] = []
    for change in changes:
        if isinstance(change, Held):
            out.append(("s", change.dp_rank, np.array(change.hashes, _U64).tobytes()))
        elif isinstance(change, Gone):
            out.append(("r", change.dp_rank, np.array(change.hashes, _U64).tobytes()))
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
        hashes: list[int] = np.frombuffer(item[2], _U64).tolist()
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise MalformedChange(f"not a cache change: {item!r:.80} ({error})") from None
    if tag == "s":
        return Held(rank, hashes)
    if tag == "r":
        return Gone(rank, hashes)
    raise MalformedChange(f"unknown kind of cache change: {tag!r}")
