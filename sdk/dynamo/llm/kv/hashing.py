"""Identities of KV-cache blocks: what a block holds, and which prefix it ends.

Format (version 1; all arithmetic modulo 2^64, token ids unsigned 32-bit):

- content hash of a block of ids x_0 … x_{b-1}: `C + sum(x_i * K_i)`, with `C` and the odd keys `K_i` taken
  from the splitmix64 sequence of seed `SEED`. This is multilinear hashing (Lemire and Kaser, "Strongly
  universal string hashing is fast"): for ids that were not chosen to break it, two blocks collide with
  a probability below 2^-46, and two of typical difference with 2^-64.
- sequence hash of the prefix that ends with block i: `root + sum(content_j * P^j for j <= i)`, P odd. It is
  computed for all blocks at once by one multiplication and one cumulative sum, and extended by one block in
  constant time, which a chain of calls into a byte hash cannot offer.
- `root` is 0, or the xxh3 of the LoRA adapter's name and the cache salt: equal tokens under another
  adapter or salt are another prefix.

The keys are public, so somebody who picks token ids could build collisions. The worst that follows is
a request routed by a wrong estimate: engines look blocks up by hashes of their own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import mul

import numpy as np
import numpy.typing as npt
import xxhash

from dynamo.llm.kv.packing import array_of

Hashes = npt.NDArray[np.uint64]
"""One-dimensional array of hashes, one a block."""

FORMAT_VERSION = 1
SEED = 0x64796E616D6F6B76
MASK64 = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15
"""P: the multiplier between the positions of a sequence; also splitmix64's increment."""

_U32 = np.dtype("<u4")
_running_sum = np.add.accumulate


def _splitmix64(count: int) -> list[int]:
    state, out = SEED, []
    for _ in range(count):
        state = (state + STEP) & MASK64
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
        out.append(z ^ (z >> 31))
    return out


class _Powers:
    """P^0, P^1, … as integers and as an array, and the running sums of C * P^j; grown on demand."""

    def __init__(self, constant: int) -> None:
        self._constant = constant
        self.integers: list[int] = []
        self._array: Hashes = np.empty(0, np.uint64)
        self._offsets: Hashes = np.empty(0, np.uint64)
        self._first: dict[int, tuple[Hashes, Hashes]] = {}
        self.grow(1024)

    def grow(self, count: int) -> None:
        count = max(count, 2 * len(self.integers))
        power = (self.integers[-1] * STEP) & MASK64 if self.integers else 1
        while len(self.integers) < count:
            self.integers.append(power)
            power = (power * STEP) & MASK64
        self._array = np.array(self.integers, np.uint64)
        self._offsets = np.cumsum(self._array * np.uint64(self._constant))
        self._first.clear()

    def first(self, count: int) -> tuple[Hashes, Hashes]:
        """The first powers and running sums. Short prompts would notice the price of slicing: slices are kept."""
        known = self._first.get(count)
        if known is None:
            if count > len(self.integers):
                self.grow(count)
            known = self._first[count] = self._array[:count], self._offsets[:count]
        return known


_CONSTANT = _splitmix64(1)[0]
_POWERS = _Powers(_CONSTANT)


@lru_cache(maxsize=1024)
def root_hash(lora: str | None = None, salt: str | None = None) -> int:
    """The hash that a sequence starts from; 0 without adapter and salt."""
    if not lora and not salt:
        return 0
    name, secret = (lora or "").encode(), (salt or "").encode()
    return int(xxhash.xxh3_64_intdigest(struct.pack("<II", len(name), len(secret)) + name + secret, SEED))


def step_powers(count: int) -> list[int]:
    """P^0, P^1, … modulo 2^64: at least `count` of them. The list is shared; do not change it."""
    if count > len(_POWERS.integers):
        _POWERS.grow(count)
    return _POWERS.integers


def chain(parent: int, depth: int, contents: Iterable[int]) -> list[int]:
    """Sequence hashes of blocks with these content hashes, the first at position `depth` (from 0).

    `parent` is the sequence hash of the block before, or the root's.
    """
    contents = list(contents)
    powers = step_powers(depth + len(contents))
    out = []
    for position, content in enumerate(contents, depth):
        parent = (parent + content * powers[position]) & MASK64
        out.append(parent)
    return out


class BlockHasher:
    """Hashes of the full blocks of a prompt, for one block size (in tokens).

    Tokens come as a sequence of ids or as bytes from `pack_tokens`; a partial block at the end has no hash. Ids that
    are negative, no integers or beyond 64 bits raise `InvalidTokens`.
    """

    def __init__(self, block_size: int) -> None:
        if block_size < 1:
            raise ValueError(f"block size must be at least 1 token, got {block_size}")
        self.block_size = block_size
        self._bytes = 4 * block_size
        self._key_integers = [key | 1 for key in _splitmix64(block_size + 1)[1:]]
        self._keys: Hashes = np.array(self._key_integers, np.uint64)

    def _products(self, tokens: Sequence[int] | bytes) -> Hashes:
        if isinstance(tokens, bytes):
            full = len(tokens) // self._bytes
            # Widened before they are multiplied: numpy would do it piece by piece, which costs more.
            ids = np.ndarray((full, self.block_size), _U32, tokens).astype(np.uint64)
        else:
            full = len(tokens) // self.block_size
            ids = np.ndarray((full, self.block_size), np.uint64, array_of("Q", tokens))
        products: Hashes = ids.dot(self._keys)
        return products

    def contents(self, tokens: Sequence[int] | bytes) -> Hashes:
        """Content hash of each full block."""
        products = self._products(tokens)
        products += np.uint64(_CONSTANT)
        return products

    def content(self, block: Sequence[int]) -> int:
        """Content hash of exactly one block; cheaper than `contents` for a single one."""
        if len(block) != self.block_size:
            raise ValueError(f"a block has {self.block_size} tokens, got {len(block)}")
        product: int = sum(map(mul, block, self._key_integers))
        return (product + _CONSTANT) & MASK64

    def sequence(self, tokens: Sequence[int] | bytes, root: int = 0) -> Hashes:
        """Sequence hash of each full block: equal at position i if and only if the first i+1 blocks are."""
        products = self._products(tokens)
        powers, offsets = _POWERS.first(len(products))
        products *= powers
        hashes: Hashes = _running_sum(products)
        hashes += offsets
        if root:
            hashes += np.uint64(root)
        return hashes
