"""Our side of the structure benchmarks; prints JSON. Run by `benchmarks.kv.structures`."""

from __future__ import annotations

import msgspec
from workload import (
    EVENT_BLOCKS,
    EVENT_SIZES,
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

from dynamo.llm.engines.base import BlocksStored, EngineLoad, StoredBlock
from dynamo.llm.kv.hashing import BlockHasher
from dynamo.llm.kv.index import PrefixIndex
from dynamo.llm.kv.mirror import BlockMirror, Held
from dynamo.llm.kv.options import RouterOptions
from dynamo.llm.kv.packing import pack_tokens
from dynamo.llm.kv.router import KvRouter
from dynamo.llm.kv.wire import decode_changes, encode_changes
from dynamo.llm.kv.workers import Worker


def hashing(figures: dict[str, float]) -> None:
    for size in (16, 64):
        hasher = BlockHasher(size)
        for count in (1024, 8192, 32768):
            ids = tokens(count)
            packed = pack_tokens(ids)
            figures[f"hash {count} tokens, {size} a block, list"] = microseconds(lambda: hasher.sequence(ids))
            figures[f"hash {count} tokens, {size} a block, packed"] = microseconds(lambda: hasher.sequence(packed))


def lookups(figures: dict[str, float]) -> None:
    index, hasher = PrefixIndex(), BlockHasher(16)
    before = resident_bytes()
    for worker, numbers in filler():
        base = (numbers[0] * 0x9E3779B97F4A7C15) % 2**64
        index.store(Worker(worker), [(base + n * 0xBF58476D1CE4E5B9) % 2**64 for n in numbers])
    figures["bytes per indexed block"] = (resident_bytes() - before) / len(index)
    for blocks in LOOKUPS:
        hashes = hasher.sequence(tokens(16 * blocks, blocks))
        for worker in range(WORKERS):
            index.store(Worker(worker), hashes[: held_by(worker, blocks)].tolist())
        assert index.match(hashes).scores()[Worker(3)] == blocks
        figures[f"longest prefix, {blocks} blocks"] = microseconds(lambda: index.match(hashes))
        figures[f"longest prefix, {blocks} blocks, as a map"] = microseconds(lambda: index.match(hashes).scores())


def decisions(figures: dict[str, float]) -> None:
    for size in (16, 64):
        router = KvRouter(RouterOptions(block_size=size))
        ids = tokens(8192)
        hashes = router.hashes(ids).tolist()
        for worker in range(WORKERS):
            router.apply(worker, Held(0, hashes[: held_by(worker, len(hashes))]))
            router.report(Worker(worker), EngineLoad(total_blocks=10_000, request_slots=256))
        for other in range(2 * WORKERS):
            router.routed(router.find_best(tokens(512, other), request_id=str(other)))
        packed = pack_tokens(ids)

        def whole(router: KvRouter = router, ids: list[int] = ids) -> None:
            router.routed(router.find_best(ids, request_id="x"))
            router.first_token("x", 0)
            router.finished("x")

        figures[f"decision, 8192 tokens, {size} a block"] = microseconds(lambda: router.find_best(ids))
        figures[f"decision, 8192 tokens, {size} a block, packed"] = microseconds(lambda: router.find_best(packed))
        figures[f"decision and life of a request, {size} a block"] = microseconds(whole)


def events(figures: dict[str, float]) -> None:
    for size in EVENT_SIZES:
        count = EVENT_BLOCKS // size
        hashes = [(n * 0x9E3779B97F4A7C15 + 1) % 2**64 for n in range(EVENT_BLOCKS)]
        wire = [
            msgspec.msgpack.encode(encode_changes([Held(0, hashes[i * size : (i + 1) * size])])) for i in range(count)
        ]
        decode = msgspec.msgpack.Decoder().decode
        router = KvRouter()
        router.add_worker(Worker(1))
        began = clock()
        for message in wire:
            for change in decode_changes(decode(message)):
                router.apply(1, change)
        figures[f"events/s at the router, {size} blocks each"] = EVENT_BLOCKS / (clock() - began)
        engine = [
            BlocksStored(
                parent_hash=hashes[i * size - 1] if i else None,
                blocks=tuple(StoredBlock(h, h >> 1) for h in hashes[i * size : (i + 1) * size]),
            )
            for i in range(count)
        ]
        mirror, router = BlockMirror(), KvRouter()
        router.add_worker(Worker(1))
        began = clock()
        for event in engine:
            if (change := mirror.apply(event)) is not None:
                router.apply(1, change)
        figures[f"events/s from the engine on, {size} blocks each"] = EVENT_BLOCKS / (clock() - began)


if __name__ == "__main__":
    found: dict[str, float] = {}
    hashing(found)
    lookups(found)
    decisions(found)
    events(found)
    report(found)
