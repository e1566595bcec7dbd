"""Input that is almost right: valid input with some bytes changed, or some values, which come further in."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import msgspec

NASTY_BYTES = (
    b"",
    b"\0",
    b"\xff",
    b"\n",
    b"\r\n",
    b"{",
    b"[" * 2000,
    b'"',
    b"\\u0000",
    b"\xed\xa0\x80",
    b"-",
    b"1e999",
)
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64 - 1, -(2**63), 0.0, -0.0, 1e308, math.nan, math.inf, "",
    "\0", "../../etc/passwd", "a" * 5000, "\ud800", "💥", [], {}, [[]], {"": {}}, [None] * 300, {"x": 1}, b"",
)  # fmt: skip


def bytes_changed(data: bytes, chance: random.Random) -> bytes:
    """A few places of `data` overwritten, cut out, doubled, swapped or filled with what parsers stumble over."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(len(out) + 1)
        to = min(len(out), at + chance.choice((1, 1, 2, 4, 8, 64)))
        how = chance.randrange(6)
        if how == 0:
            out[at:to] = chance.randbytes(to - at)
        elif how == 1:
            del out[at:to]
        elif how == 2:
            out[at:at] = out[at:to] * chance.choice((1, 2, 50))
        elif how == 3:
            out[at:to] = chance.choice(NASTY_BYTES)
        elif how == 4 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        else:
            del out[at:]
    return bytes(out)


def value_changed(value: Any, chance: random.Random) -> Any:
    """One place in a tree of lists and maps replaced, removed, doubled or renamed."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        how = chance.randrange(10)
        if how == 0:
            return {k: v for k, v in value.items() if k != key}
        if how == 1:
            return {**value, f"{key}x": value[key]}
        return {**value, key: value_changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        how = chance.randrange(10)
        if how == 0:
            return value[:at] + value[at + 1 :]
        if how == 1:
            return value[:at] + [value[at]] * chance.choice((2, 300)) + value[at + 1 :]
        return [*value[:at], value_changed(value[at], chance), *value[at + 1 :]]
    return chance.choice(NASTY)


def as_json(value: Any) -> bytes:
    return json.dumps(value, default=repr).encode("utf-8", "surrogatepass")


def as_msgpack(value: Any) -> bytes:
    return msgspec.msgpack.encode(json.loads(json.dumps(value, default=repr), strict=False), enc_hook=repr)


def variants(data: bytes, chance: random.Random, tree: Any, encode: Callable[[Any], bytes] | None) -> bytes:
    """The next input: of `tree`, where the format is one, with its bytes changed as well now and then."""
    if encode is None or chance.random() < 0.4:
        return bytes_changed(data, chance)
    changed = value_changed(tree, chance)
    for _ in range(chance.choice((0, 0, 1, 3))):
        changed = value_changed(changed, chance)
    try:
        made = encode(changed)
    except (ValueError, OverflowError, TypeError, UnicodeError):  # not everything nasty can be written in every format
        return bytes_changed(data, chance)
    return bytes_changed(made, chance) if chance.random() < 0.1 else made
