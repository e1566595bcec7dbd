"""KV events over ZeroMQ, from a publisher that loses, repeats and restarts as the real one may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("zmq", reason="needs pyzmq: make test-vllm")

import zmq
import zmq.asyncio

from dynamo.llm.engines.base import BlocksCleared, BlocksRemoved, BlocksStored, KvEvent
from dynamo.llm.engines.vllm_events import EventReader, EventStream
from dynamo.llm.kv.hashing import BlockHasher

BLOCK = 4
END = (1 << 64) - 1


def removed(name: int) -> bytes:
    """A batch with one event, told apart by the block's name."""
    return msgspec.msgpack.encode([0.0, [{"type": "BlockRemoved", "block_hashes": [name], "medium": "GPU"}], 0])


class Publisher:
    """The publisher's two sockets; `memory` is what it can replay."""

    def __init__(self, directory: Path) -> None:
        self.events, self.replay = f"ipc://{directory}/kv", f"ipc://{directory}/replay"
        self._context = zmq.asyncio.Context()
        self._pub = self._context.socket(zmq.PUB)
        self._pub.bind(self.events)
        self._router = self._context.socket(zmq.ROUTER)
        self._router.bind(self.replay)
        self.memory: dict[int, bytes] = {}
        self.asked: list[int] = []

    async def send(self, sequence: int, payload: bytes) -> None:
        self.memory[sequence] = payload
        await self._pub.send_multipart([b"t", sequence.to_bytes(8, "big"), payload])

    async def answer_replays(self) -> None:
        while True:
            identity, _, start = await self._router.recv_multipart()
            self.asked.append(int.from_bytes(start, "big"))
            for sequence in sorted(s for s in self.memory if s >= self.asked[-1]):
                await self._router.send_multipart(
                    [identity, b"", b"t", sequence.to_bytes(8, "big"), self.memory[sequence]]
                )
            await self._router.send_multipart([identity, b"", b"", END.to_bytes(8, "big"), b""])

    def close(self) -> None:
        self._pub.close(linger=0)
        self._router.close(linger=0)
        self._context.term()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def following(directory: Path, *before: int) -> AsyncIterator[tuple[Publisher, list[KvEvent], EventStream]]:
    """A publisher that sent the batches `before` already, and what a follower of it heard."""
    publisher = Publisher(directory)
    heard: list[KvEvent] = []
    for sequence in before:
        publisher.memory[sequence] = removed(sequence)
    stream = EventStream(publisher.events, publisher.replay, "t", BLOCK, heard.extend)
    tasks = [asyncio.create_task(publisher.answer_replays()), asyncio.create_task(stream.run())]
    try:
        await until(lambda: publisher.asked == [0])
        await until(lambda: len(heard) >= len(before))
        yield publisher, heard, stream
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        publisher.close()


def names(events: list[KvEvent]) -> list[Any]:
    return ["cleared" if isinstance(e, BlocksCleared) else e.block_hashes[0] for e in events]  # type: ignore[union-attr]


async def connected(publisher: Publisher, heard: list[KvEvent], sequence: int) -> None:
    """Send a batch until it arrives: a subscription takes a moment to hold."""
    async with asyncio.timeout(10):
        while sequence not in names(heard):
            await publisher.send(sequence, removed(sequence))
            await asyncio.sleep(0.01)


async def test_what_was_published_before_is_replayed_and_not_told_twice(tmp_path: Path) -> None:
    async with following(tmp_path, 0, 1, 2) as (publisher, heard, _):
        await connected(publisher, heard, 3)
        await publisher.send(0, removed(0))
        await publisher.send(4, removed(4))
        await until(lambda: 4 in names(heard))
        assert names(heard) == [0, 1, 2, 3, 4]


async def test_a_gap_is_filled(tmp_path: Path) -> None:
    async with following(tmp_path, 0) as (publisher, heard, stream):
        await connected(publisher, heard, 1)
        publisher.memory |= {2: removed(2), 3: removed(3)}
        await publisher.send(4, removed(4))
        await until(lambda: 4 in names(heard))
        assert names(heard) == [0, 1, 2, 3, 4]
        assert stream.gaps == 1


async def test_what_is_lost_for_good_starts_the_picture_anew(tmp_path: Path) -> None:
    async with following(tmp_path, 0) as (publisher, heard, _):
        await connected(publisher, heard, 1)
        publisher.memory = {7: removed(7)}
        await publisher.send(8, removed(8))
        await until(lambda: 8 in names(heard))
        assert names(heard) == [0, 1, "cleared", 7, 8]


async def test_a_publisher_that_begins_anew_clears_what_was_known(tmp_path: Path) -> None:
    async with following(tmp_path, 0) as (publisher, heard, _):
        await connected(publisher, heard, 1)
        await publisher.send(0, removed(100))
        await publisher.send(1, removed(101))
        await until(lambda: 101 in names(heard))
        assert names(heard) == [0, 1, "cleared", 100, 101]


def test_events_become_ours() -> None:
    ids = list(range(2 * BLOCK))
    stored = {"type": "BlockStored", "block_hashes": [b"\x01" * 32, 7], "parent_block_hash": None, "token_ids": ids,
              "block_size": BLOCK, "lora_id": None, "medium": "GPU", "lora_name": "fr",
              "extra_keys": [["fr", "salt"], ["fr"]], "field_of_tomorrow": 1}  # fmt: skip
    others = [{"type": "BlockStored", **stored, "medium": "CPU"}, {"type": "AllBlocksCleared"}, {"type": "Tomorrow"}]
    first, second = EventReader(BLOCK).read(msgspec.msgpack.encode([1.0, [stored, *others], 1]))
    assert isinstance(first, BlocksStored)
    assert (first.lora, first.salt, first.parent_hash, first.dp_rank) == ("fr", "salt", None, 1)
    assert [block.block_hash for block in first.blocks] == [0x0101010101010101, 7]
    assert [block.tokens_hash for block in first.blocks] == BlockHasher(BLOCK).contents(ids).tolist()
    assert second == BlocksCleared(dp_rank=1)
    assert isinstance(EventReader(BLOCK).read(removed(5))[0], BlocksRemoved)
