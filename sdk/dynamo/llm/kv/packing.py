"""Token ids as bytes, the form in which they reach a router. Without numpy, for processes that do not hash."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence

from dynamo.llm.errors import LlmError


class InvalidTokens(LlmError, ValueError):
    """Token ids that are negative, too large or no integers."""


def array_of(kind: str, token_ids: Sequence[int]) -> array[int]:
    """The ids as `kind` of array. `fromlist` is the fastest way out of a list that Python has.

    Raises:
        InvalidTokens: an id that this kind cannot hold.
    """
    out: array[int] = array(kind)
    try:
        out.fromlist(token_ids if isinstance(token_ids, list) else list(token_ids))
    except (TypeError, OverflowError) as error:
        raise InvalidTokens(f"token ids must be integers from 0 to 2^{8 * out.itemsize} - 1: {error}") from None
    return out


def pack_tokens(token_ids: Sequence[int]) -> bytes:
    """Ids as little-endian unsigned 32-bit integers.

    Raises:
        InvalidTokens: an id is negative, too large or not an integer.
    """
    packed = array_of("I", token_ids)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
