"""Cache changes on the wire.

`[tag, rank, hashes]` with the tag "s" (stored), "r" (removed) or "c" (cleared, without hashes), and the sequence
hashes as one string of little-endian unsigned 64-bit integers: eight bytes a block, read in one go.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dynamo.llm.errors import LlmError
from dynamo.llm.kv.mirror import CacheChange, Emptied, Gone, Held

_Reader = Callable[[bytes], tuple[int, ...]]

_READERS: dict[int, _Reader] = {}
"""Length in bytes -> what reads that many bytes as hashes."""
_ARRAYS = (list, tuple)  # a union written in place would be made anew for each event
_KINDS: dict[Any, type[Held] | type[Gone]] = {"s": Held, "r": Gone}


class MalformedChange(LlmError, ValueError):
    """What arrived is not a cache change."""


def _pack(hashes: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(hashes)}Q", *hashes)


def _reader(length: int) -> _Reader:
    reader = _READERS[length] = struct.Struct(f"<{length >> 3}Q").unpack
    return reader


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


def decode_changes(items: Any) -> list[CacheChange]:
    """Raises MalformedChange."""
    if not isinstance(items, _ARRAYS):
        raise MalformedChange(f"not a list of cache changes: {items!r:.80}")
    out: list[CacheChange] = []
    for item in items:
        try:
            if item[0] == "c":
                out.append(Emptied(int(item[1])))
                continue
            tag, rank, packed = item
            if type(rank) is not int:
                raise TypeError(f"rank {rank!r}")
            read = _READERS.get(len(packed)) or _reader(len(packed))
            out.append(_KINDS[tag](rank, read(packed)))
        except (TypeError, ValueError, IndexError, KeyError, OverflowError, struct.error) as error:
            raise MalformedChange(f"not a cache change: {item!r:.80} ({error})") from None
    return out
