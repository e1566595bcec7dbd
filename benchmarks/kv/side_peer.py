"""The peer's side of the structure benchmarks; runs in its own environment and prints JSON."""

from __future__ import annotations

import json

from workload import (
    EVENT_BLOCKS,
    EVENT_SIZES,
    INDEXED_BLOCKS,
    LOOKUPS,
    WORKERS,
    clock,
    filler,
    held_by,
    microseconds,
    report,
    resident_bytes,
    tokens,
)

from dynamo.llm import RadixTree, compute_block_hash_for_seq


def stored(parent: int | None, names: list[int], contents: list[int]) -> bytes:
    blocks = [{"block_hash": name, "tokens_hash": content} for name, content in zip(names, contents, strict=True)]
    data = {"stored": {"parent_hash": parent, "blocks": blocks}}
    return json.dumps({"event_id": 1, "data": data, "dp_rank": 0}).encode()


def name_of(number: int) -> int:
    return (number * 0x9E3779B97F4A7C15 + 1) % 2**64


def hashing(figures: dict[str, float]) -> None:
    for size in (16, 64):
        for count in (1024, 8192, 32768):
            ids = tokens(count)
            figures[f"hash {count} tokens, {size} a block, list"] = microseconds(
                lambda: compute_block_hash_for_seq(ids, size)
            )


def lookups(figures: dict[str, float]) -> None:
    tree = RadixTree()
    before = resident_bytes()
    for worker, numbers in filler():
        tree.apply_event(worker, stored(None, [name_of(n) for n in numbers], [name_of(n) >> 1 for n in numbers]))
    tree.find_matches([0])
    figures["bytes per indexed block"] = (resident_bytes() - before) / INDEXED_BLOCKS
    for blocks in LOOKUPS:
        contents = compute_block_hash_for_seq(tokens(16 * blocks, blocks), 16)
        names = [name_of(10 * INDEXED_BLOCKS + 4096 * blocks + n) for n in range(blocks)]
        for worker in range(WORKERS):
            depth = held_by(worker, blocks)
            tree.apply_event(worker, stored(None, names[:depth], contents[:depth]))
        assert tree.find_matches(contents).scores[3, 0] == blocks
        figures[f"longest prefix, {blocks} blocks"] = microseconds(lambda: tree.find_matches(contents))
        figures[f"longest prefix, {blocks} blocks, as a map"] = microseconds(lambda: tree.find_matches(contents).scores)


def decisions(figures: dict[str, float]) -> None:
    """Hashing and lookup only: the peer's scheduler is not reachable without a deployment, so it is left out."""
    for size in (16, 64):
        tree = RadixTree()
        ids = tokens(8192)
        contents = compute_block_hash_for_seq(ids, size)
        names = [name_of(n) for n in range(len(contents))]
        for worker in range(WORKERS):
            depth = held_by(worker, len(contents))
            tree.apply_event(worker, stored(None, names[:depth], contents[:depth]))
        figures[f"decision, 8192 tokens, {size} a block"] = microseconds(
            lambda: tree.find_matches(compute_block_hash_for_seq(ids, size))
        )


def events(figures: dict[str, float]) -> None:
    for size in EVENT_SIZES:
        names = [name_of(n) for n in range(EVENT_BLOCKS)]
        wire = []
        for start in range(0, EVENT_BLOCKS, size):
            part = names[start : start + size]
            wire.append(stored(names[start - 1] if start else None, part, [name >> 1 for name in part]))
        tree = RadixTree()
        began = clock()
        for message in wire:
            tree.apply_event(1, message)
        tree.find_matches([names[0] >> 1])
        figures[f"events/s at the router, {size} blocks each"] = EVENT_BLOCKS / (clock() - began)


if __name__ == "__main__":
    found: dict[str, float] = {}
    hashing(found)
    lookups(found)
    decisions(found)
    events(found)
    report(found)
