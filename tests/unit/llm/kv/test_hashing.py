from __future__ import annotations

import random
from array import array

import numpy as np
import pytest

from dynamo.llm.kv.hashing import (
    MASK64,
    STEP,
    BlockHasher,
    chain,
    root_hash,
)
from dynamo.llm.kv.packing import InvalidTokens, pack_tokens


def tokens(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(128_000), k=count)


def test_format_is_fixed() -> None:
    """Routers and workers of different releases meet: a change of these numbers is a change of the format."""
    hasher = BlockHasher(4)
    assert [hex(h) for h in hasher.contents([1, 2, 3, 4, 0, 0, 0, 0]).tolist()] == [
        "0x7b71877b2c1c29e5",
        "0x21bb1795ac242f51",
    ]
    assert hex(hasher.sequence([1, 2, 3, 4, 0, 0, 0, 0], root_hash("a", "b")).tolist()[-1]) == "0x924ece66c9a9ad7a"


def test_formula_block_by_block() -> None:
    hasher = BlockHasher(16)
    ids = tokens(100)
    contents = hasher.contents(ids).tolist()
    assert contents == [hasher.content(ids[i : i + 16]) for i in range(0, 96, 16)]
    expected, running = [], 7
    for position, content in enumerate(contents):
        running = (running + content * pow(STEP, position, 1 << 64)) & MASK64
        expected.append(running)
    assert hasher.sequence(ids, 7).tolist() == expected
    assert chain(7, 0, contents) == expected
    assert chain(expected[2], 3, contents[3:]) == expected[3:]


@pytest.mark.parametrize("block_size", [1, 3, 16, 64])
def test_packed_ids_and_lists_agree(block_size: int) -> None:
    ids = tokens(1000)
    hasher = BlockHasher(block_size)
    assert np.array_equal(hasher.sequence(ids), hasher.sequence(pack_tokens(ids)))
    assert len(hasher.sequence(ids)) == 1000 // block_size


def test_longer_than_the_tables_at_first() -> None:
    ids = tokens(40_000)
    hasher = BlockHasher(4)
    hashes = hasher.sequence(ids).tolist()
    assert len(hashes) == 10_000
    assert chain(hashes[8999], 9000, hasher.contents(ids[36_000:]).tolist()) == hashes[9000:]


def test_equal_up_to_the_first_difference() -> None:
    hasher = BlockHasher(16)
    one = tokens(512)
    other = list(one)
    other[200] += 1
    a, b = hasher.sequence(one), hasher.sequence(other)
    assert (a[:12] == b[:12]).all()
    assert (a[12:] != b[12:]).all()


def test_position_matters() -> None:
    hasher = BlockHasher(16)
    a, b = tokens(16, 1), tokens(16, 2)
    assert hasher.sequence(a + b)[1] != hasher.sequence(b + a)[1]
    zeros = hasher.sequence([0] * 160).tolist()
    assert len(set(zeros)) == 10


def test_salt_and_adapter_separate_prefixes() -> None:
    roots = {
        root_hash(),
        root_hash("a"),
        root_hash(None, "a"),
        root_hash("a", "b"),
        root_hash("ab"),
        root_hash("", "ab"),
    }
    assert len(roots) == 6
    assert root_hash(None, None) == root_hash("", "") == 0
    hasher = BlockHasher(16)
    ids = tokens(64)
    assert not set(hasher.sequence(ids).tolist()) & set(hasher.sequence(ids, root_hash(salt="x")).tolist())


def test_no_collisions_among_structured_blocks() -> None:
    """Counters, repeated ids and single-bit changes are what templates and padding look like."""
    hasher = BlockHasher(16)
    blocks = [[base + step * i for i in range(16)] for base in range(0, 3000, 7) for step in (0, 1, 2, 4)]
    for position in range(16):
        for bit in range(17):
            block = [0] * 16
            block[position] = 1 << bit
            blocks.append(block)
    unique = {tuple(block) for block in blocks}
    hashes = set(hasher.contents([token for block in unique for token in block]).tolist())
    assert len(hashes) == len(unique)


@pytest.mark.parametrize("bad", [[-1], [1 << 64], ["a"], [1.5], [None]])
def test_ids_out_of_range_are_refused(bad: list[int]) -> None:
    with pytest.raises(InvalidTokens, match="token ids"):
        BlockHasher(1).sequence(bad)
    with pytest.raises(InvalidTokens, match="token ids"):
        pack_tokens(bad)


def test_four_bytes_hold_no_more() -> None:
    with pytest.raises(InvalidTokens, match=r"from 0 to 2\^32 - 1"):
        pack_tokens([1 << 32])


def test_lists_and_other_sequences_and_packed_ids_are_the_same() -> None:
    ids = [0, 1, (1 << 32) - 1, 7, 128_000]
    hasher = BlockHasher(2)
    expected = hasher.sequence(ids).tolist()
    assert len(expected) == 2
    assert [hasher.sequence(form).tolist() for form in (tuple(ids), pack_tokens(ids), array("I", ids))] == [
        expected
    ] * 3
    assert hasher.sequence([]).tolist() == hasher.sequence(b"").tolist() == hasher.sequence([1]).tolist() == []


def test_block_size_is_checked() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BlockHasher(0)
    with pytest.raises(ValueError, match="has 4 tokens, got 3"):
        BlockHasher(4).content([1, 2, 3])
