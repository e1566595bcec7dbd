"""What old routers ask: prefix overlaps and load figures of a component's workers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from dynamo.llm.compat.publishing import Background, lora_name
from dynamo.llm.compat.stats import AggregatedMetrics, EndpointKvMetrics
from dynamo.llm.engines.base import BlocksCleared, BlocksRemoved, BlocksStored, StoredBlock
from dynamo.llm.kv.approx import ApproxIndex
from dynamo.llm.kv.events import LOAD_ENDPOINT, load_from_wire
from dynamo.llm.kv.follower import WorkerFollower
from dynamo.llm.kv.hashing import MASK64, BlockHasher, chain, root_hash
from dynamo.llm.kv.index import Matches, PrefixIndex
from dynamo.llm.kv.mirror import BlockMirror, Gone, Held
from dynamo.llm.kv.options import RouterOptions
from dynamo.llm.kv.router import KvRouter
from dynamo.llm.kv.workers import Worker
from dynamo.runtime.events import SnapshotSubscriber

if TYPE_CHECKING:
    from dynamo.runtime.component import Component


def compute_block_hash_for_seq_py(tokens: list[int], kv_block_size: int) -> list[int]:
    """Content hash of each full block, by `kv.hashing`: other values than the old wheels', to the same purpose."""
    if kv_block_size < 1:
        raise ValueError("kv_block_size cannot be 0")
    hashes: list[int] = BlockHasher(kv_block_size).contents(tokens).tolist()
    return hashes


class OverlapScores:
    """`scores`: worker id -> blocks of the prompt that it holds. `frequencies`: recent uses of each block."""

    def __init__(self, scores: dict[int, int], frequencies: list[int] | None = None) -> None:
        self.scores = scores
        self.frequencies = frequencies or []

    def __repr__(self) -> str:
        return f"OverlapScores(scores={self.scores}, frequencies={self.frequencies})"


def _scores(matches: Matches) -> dict[int, int]:
    """Per instance: the best of its data-parallel ranks."""
    found: dict[int, int] = {}
    for worker, depth in matches.scores().items():
        found[worker.instance] = max(depth, found.get(worker.instance, 0))
    return found


class _Stored(msgspec.Struct):
    blocks: list[StoredBlock]
    parent_hash: int | None = None


class _Removed(msgspec.Struct):
    block_hashes: list[int]


class _Data(msgspec.Struct):
    stored: _Stored | None = None
    removed: _Removed | None = None


class _Event(msgspec.Struct):
    data: _Data | str
    event_id: int = 0


class RadixTree:
    """An index that is fed by hand with events in JSON, as the old wheels had it (there a tree, here a table).

    With `expiration_duration_secs`, uses of each block within that time are counted as frequencies.
    """

    def __init__(self, expiration_duration_secs: float | None = None) -> None:
        self._index = PrefixIndex()
        self._mirrors: dict[int, BlockMirror] = {}
        self._window = expiration_duration_secs
        self._uses: dict[int, deque[float]] = {}

    def find_matches(self, sequence: list[int], early_exit: bool = False) -> OverlapScores:  # noqa: ARG002
        """`sequence`: content hashes in order. The whole answer costs no more than an early one, so it is given."""
        hashes = chain(0, 0, sequence)
        matches = self._index.match(hashes)
        return OverlapScores(_scores(matches), self._count(hashes[: matches.best]))

    def apply_event(self, worker_id: int, kv_cache_event_bytes: bytes) -> None:
        """Raises ValueError for what is not an event."""
        try:
            event = msgspec.json.decode(kv_cache_event_bytes, type=_Event)
        except msgspec.MsgspecError as error:
            raise ValueError(f"Failed to deserialize KvCacheEvent: {error}") from None
        mirror = self._mirrors.setdefault(worker_id, BlockMirror())
        worker = Worker(worker_id)
        change: Any = None
        if isinstance(event.data, str):
            if event.data != "cleared":
                raise ValueError(f"Failed to deserialize KvCacheEvent: unknown kind {event.data!r}")
            mirror.apply(BlocksCleared())
            self._index.clear(worker)
        elif event.data.stored is not None:
            stored = event.data.stored
            change = mirror.apply(BlocksStored(parent_hash=stored.parent_hash, blocks=tuple(stored.blocks)))
        elif event.data.removed is not None:
            change = mirror.apply(BlocksRemoved(block_hashes=tuple(event.data.removed.block_hashes)))
        if isinstance(change, Held):
            self._index.store(worker, change.hashes)
        elif isinstance(change, Gone):
            self._index.remove(worker, change.hashes)

    def remove_worker(self, worker_id: int) -> None:
        self._mirrors.pop(worker_id, None)
        self._index.remove_worker(Worker(worker_id))

    def clear_all_blocks(self, worker_id: int) -> None:
        self._mirrors.pop(worker_id, None)
        self._index.clear(Worker(worker_id))

    def _count(self, hashes: list[int]) -> list[int]:
        if self._window is None:
            return []
        now = time.monotonic()
        found = []
        for key in hashes:
            uses = self._uses.setdefault(key, deque())
            while uses and uses[0] <= now - self._window:
                uses.popleft()
            if uses:
                found.append(len(uses))
            uses.append(now)
        return found


class KvIndexer:
    """The prefix index of a component's workers, followed in the background; its answers are awaited."""

    def __init__(self, component: Component, block_size: int) -> None:
        self._router = KvRouter(RouterOptions(block_size=block_size))
        follower = WorkerFollower(self._router, component)
        component.runtime.own(follower)
        self._started = Background(component, follower.start())

    def block_size(self) -> int:
        return self._router.options.block_size

    async def find_matches(self, sequence: list[int]) -> OverlapScores:
        """`sequence`: content hashes from `compute_block_hash_for_seq_py`."""
        await self._started.done()
        return OverlapScores(_scores(self._router.index.match(chain(0, 0, (key & MASK64 for key in sequence)))))

    async def find_matches_for_request(self, token_ids: list[int], lora_id: int = 0) -> OverlapScores:
        await self._started.done()
        hashes = self._router.hashes(token_ids, lora=lora_name(lora_id))
        return OverlapScores(_scores(self._router.index.match(hashes)))


class ApproxKvIndexer:
    """A prefix index without events: what was routed is taken to be cached for `ttl_secs`."""

    def __init__(self, component: Component, kv_block_size: int, ttl_secs: float) -> None:
        self.component = component
        self._hasher = BlockHasher(kv_block_size)
        self._index = ApproxIndex(ttl_secs)

    def block_size(self) -> int:
        return self._hasher.block_size

    async def find_matches_for_request(self, token_ids: list[int], lora_id: int = 0) -> OverlapScores:
        hashes = self._hasher.sequence(token_ids, root_hash(lora_name(lora_id)))
        return OverlapScores(_scores(self._index.match(hashes, time.monotonic())))

    async def process_routing_decision_for_request(self, tokens: list[int], lora_id: int, worker_id: int) -> None:
        hashes = self._hasher.sequence(tokens, root_hash(lora_name(lora_id)))
        self._index.routed("", Worker(worker_id), hashes)
        self._index.finished("", 0, time.monotonic())


class KvMetricsAggregator:
    """The latest load figures of a component's workers, followed in the background."""

    def __init__(self, component: Component) -> None:
        self._loads: dict[int, EndpointKvMetrics] = {}
        self._subscriber = SnapshotSubscriber(component.endpoint(LOAD_ENDPOINT))
        self._first = asyncio.Event()
        self._following = Background(component, self._follow())

    async def get_metrics(self) -> AggregatedMetrics:
        """Waits for up to half a second for a first worker."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await self._first.wait()
        return AggregatedMetrics(list(self._loads.values()))

    async def _follow(self) -> None:
        async for event in self._subscriber:
            if event.kind == "gone":
                self._loads.pop(event.instance_id, None)
                continue
            self._loads[event.instance_id] = EndpointKvMetrics.of(event.instance_id, load_from_wire(event.body))
            self._first.set()
