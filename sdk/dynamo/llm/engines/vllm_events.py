"""vLLM's KV events: the ZeroMQ stream of one engine, without gaps, in our terms.

On the wire (vLLM 0.24 and later): three frames `[topic, sequence (u64, big-endian), msgpack]`, where the payload
is `[timestamp, [event, …], data-parallel rank]` and an event is a map with its class name under `type`.
A replay request is `[b"", first sequence (u64)]` to the ROUTER socket, its answer one message a batch,
ending with sequence -1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from dynamo.llm.engines.base import BlocksCleared, BlocksRemoved, BlocksStored, KvEvent, StoredBlock
from dynamo.llm.kv.hashing import MASK64, BlockHasher

logger = logging.getLogger(__name__)

REPLAY_TIMEOUT = 5.0
"""Seconds to wait for one replayed batch."""

_END = (1 << 64) - 1
_OWN_MEDIA = (None, "GPU")  # a CPU build calls its memory GPU as well; other media are offload tiers

Listener = Callable[[list[KvEvent]], None]


def block_name(value: int | bytes) -> int:
    """vLLM names blocks by 64-bit numbers or by digests; a digest's first eight bytes will do."""
    return int.from_bytes(value[:8], "big") if isinstance(value, bytes) else value & MASK64


class EventReader:
    """Batches of vLLM events to ours. Unknown events and fields are passed over."""

    def __init__(self, block_size: int) -> None:
        self._hasher = BlockHasher(block_size)

    def read(self, payload: bytes) -> list[KvEvent]:
        """Raises `msgspec.DecodeError` on what is not msgpack."""
        batch = msgspec.msgpack.decode(payload)
        rank = batch[2] if len(batch) > 2 and batch[2] is not None else 0
        return [event for raw in batch[1] for event in self._event(raw, rank)]

    def _event(self, raw: dict[str, Any], rank: int) -> Iterator[KvEvent]:
        kind = raw.get("type")
        if kind == "AllBlocksCleared":
            yield BlocksCleared(dp_rank=rank)
        elif raw.get("medium") not in _OWN_MEDIA or raw.get("group_idx"):
            return
        elif kind == "BlockStored":
            yield self._stored(raw, rank)
        elif kind == "BlockRemoved":
            yield BlocksRemoved(block_hashes=tuple(map(block_name, raw["block_hashes"])), dp_rank=rank)

    def _stored(self, raw: dict[str, Any], rank: int) -> BlocksStored:
        parent = raw.get("parent_block_hash")
        lora = raw.get("lora_name")
        names = map(block_name, raw["block_hashes"])
        contents = self._hasher.contents(raw["token_ids"]).tolist()
        return BlocksStored(
            parent_hash=None if parent is None else block_name(parent),
            blocks=tuple(StoredBlock(name, content) for name, content in zip(names, contents, strict=True)),
            lora=lora,
            salt=_salt(raw.get("extra_keys"), lora),
            dp_rank=rank,
        )


def _salt(extra_keys: list[list[Any] | None] | None, lora: str | None) -> str | None:
    """The cache salt is a bare string among the first block's extra keys; the adapter's name is one too."""
    first = extra_keys[0] if extra_keys else None
    return next((key for key in first or () if isinstance(key, str) and key != lora), None)


class EventStream:
    """Follows one engine's publisher: from its beginning, in order, filling gaps by replay.

    When events are lost for good, or the engine restarted, listeners are told that everything is cleared
    and then what the engine still remembers.
    """

    def __init__(self, endpoint: str, replay_endpoint: str, topic: str, block_size: int, listener: Listener) -> None:
        self._reader = EventReader(block_size)
        self._listener = listener
        self._replay_endpoint = replay_endpoint
        self._next = 0
        self._origin = b""  # batch 0: a different one of that number comes from another engine
        self.gaps = 0
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set_hwm(0)
        self._socket.connect(endpoint)
        self._socket.subscribe(topic.encode())

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            await self._replay()  # what was published before the subscription took hold
            while True:
                frames = await self._socket.recv_multipart()
                await self._take(frames[-2:])
        finally:
            self._socket.close(linger=0)
            self._context.term()

    async def _take(self, frames: list[bytes]) -> None:
        sequence = int.from_bytes(frames[0], "big")
        if sequence < self._next:
            if sequence or frames[1] == self._origin:
                return  # replayed already
            logger.warning("the engine started its KV events anew; its blocks are forgotten")
            self._restart()
        elif sequence > self._next:
            self.gaps += 1
            await self._replay()
            if sequence < self._next:
                return
            if sequence > self._next:
                logger.warning("KV events %d to %d are lost; the cache's picture starts anew", self._next, sequence - 1)
                self._restart()
        self._apply(sequence, frames[1])

    def _restart(self) -> None:
        self._next = 0
        self._listener([BlocksCleared()])

    def _apply(self, sequence: int, payload: bytes) -> None:
        self._next = sequence + 1
        if not sequence:
            self._origin = payload
        try:
            events = self._reader.read(payload)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            logger.exception("KV event batch %d cannot be read", sequence)
            return
        if events:
            self._listener(events)

    async def _replay(self) -> None:
        """Ask for everything from the next expected sequence number on, and apply it."""
        socket = self._context.socket(zmq.DEALER)
        try:
            socket.connect(self._replay_endpoint)
            await socket.send_multipart([b"", self._next.to_bytes(8, "big")])
            while True:
                async with asyncio.timeout(REPLAY_TIMEOUT):
                    frames = await socket.recv_multipart()
                sequence = int.from_bytes(frames[-2], "big")
                if sequence == _END:
                    return
                if sequence > self._next:
                    self._restart()  # the publisher's memory does not reach back far enough
                if sequence >= self._next:
                    self._apply(sequence, frames[-1])
        except TimeoutError:
            logger.warning("the engine did not answer a replay request within %.0f s", REPLAY_TIMEOUT)
        finally:
            socket.close(linger=0)
