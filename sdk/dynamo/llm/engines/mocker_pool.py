"""The simulated engine's paged KV cache: blocks, reference counts, prefix cache, eviction order.

Follows vLLM's v1 block pool (as of 0.32): every full block is cached under the hash of its whole prefix; a block
that no request uses goes to the tail of a free queue but stays in the cache until the queue's head reaches it; one that
is not cached goes to the head, to be used again first; a request's blocks are freed last block first, so that the
ends of prefixes are evicted before their beginnings.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from dynamo.llm.engines.base import BlocksCleared, BlocksRemoved, BlocksStored, KvEvent, StoredBlock


class Block:
    """One block of the pool. `name` is the hash it is cached under, None while it is not."""

    __slots__ = ("name", "number", "references")

    def __init__(self, number: int) -> None:
        self.number = number
        self.references = 0
        self.name: int | None = None


class BlockPool:
    """`total` blocks of one data-parallel rank. What the cache gained and lost collects until `take_events`."""

    def __init__(self, total: int, *, caching: bool = True, dp_rank: int = 0) -> None:
        if total < 1:
            raise ValueError(f"a pool needs at least one block, got {total}")
        self.total = total
        self._caching = caching
        self._rank = dp_rank
        self._free: OrderedDict[int, Block] = OrderedDict((number, Block(number)) for number in range(total))
        # Equal content may sit in several blocks: two requests can fill the same prefix side by side.
        self._cached: dict[int, OrderedDict[int, Block]] = {}
        self._events: list[KvEvent] = []
        self.cached_blocks = 0

    @property
    def free_blocks(self) -> int:
        """Blocks that no request uses, cached ones included."""
        return len(self._free)

    @property
    def active_blocks(self) -> int:
        return self.total - len(self._free)

    def lookup(self, names: Sequence[int]) -> list[Block]:
        """The cached blocks that `names` (prefix hashes in order) begin with."""
        found = []
        for name in names:
            copies = self._cached.get(name)
            if not copies:
                break
            found.append(next(iter(copies.values())))
        return found

    def needed(self, fresh: int, reused: Sequence[Block]) -> int:
        """Free blocks that it takes to use `reused` and allocate `fresh` more."""
        return fresh + sum(not block.references for block in reused)

    def use(self, blocks: Sequence[Block]) -> None:
        """Take cached blocks for one more request."""
        for block in blocks:
            if not block.references:
                del self._free[block.number]
            block.references += 1

    def allocate(self, count: int) -> list[Block]:
        """`count` blocks from the head of the free queue, evicted from the cache where they were in it."""
        taken = []
        for _ in range(count):
            _, block = self._free.popitem(last=False)
            if block.name is not None:
                self._evict(block)
            block.references = 1
            taken.append(block)
        return taken

    def _evict(self, block: Block) -> None:
        name = block.name
        assert name is not None
        copies = self._cached[name]
        del copies[block.number]
        if not copies:
            del self._cached[name]
        block.name = None
        self.cached_blocks -= 1
        self._events.append(BlocksRemoved(block_hashes=(name,), dp_rank=self._rank))

    def cache(
        self, blocks: Sequence[Block], names: Sequence[int], contents: Sequence[int], parent: int | None,
        lora: str | None, salt: str | None,
    ) -> None:  # fmt: skip
        """Enter full blocks into the cache: `names` are their prefix hashes, `contents` the hashes of their tokens."""
        if not self._caching or not blocks:
            return
        for block, name in zip(blocks, names, strict=True):
            block.name = name
            self._cached.setdefault(name, OrderedDict())[block.number] = block
        self.cached_blocks += len(blocks)
        stored = tuple(StoredBlock(name, content) for name, content in zip(names, contents, strict=True))
        self._events.append(BlocksStored(parent_hash=parent, blocks=stored, lora=lora, salt=salt, dp_rank=self._rank))

    def release(self, blocks: Sequence[Block]) -> None:
        """A request lets go of its blocks (in order; the last is the first to be evicted)."""
        unnamed = []
        for block in reversed(blocks):
            block.references -= 1
            if block.references:
                continue
            self._free[block.number] = block
            if block.name is None:
                unnamed.append(block.number)
        for number in reversed(unnamed):
            self._free.move_to_end(number, last=False)

    def clear(self) -> bool:
        """Forget everything cached. False, and nothing is done, while a request uses blocks."""
        if self.active_blocks:
            return False
        for block in self._free.values():
            block.name = None
        self._cached.clear()
        self.cached_blocks = 0
        self._events.append(BlocksCleared(dp_rank=self._rank))
        return True

    def take_events(self) -> list[KvEvent]:
        events, self._events = self._events, []
        return events
