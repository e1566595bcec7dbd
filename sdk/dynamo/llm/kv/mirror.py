"""The worker's own picture of its engine's cache: engine block names in, sequence hashes out.

An engine names blocks as it likes (vLLM: by a hash of its own, 64 or 256 bits) and reports what it stores and
evicts. The mirror follows the parent chains, turns each block into its sequence hash (`kv.hashing`), and yields
the changes that a router needs. It keeps two promises that make the router's index cheap and exact:

- a block counts as held as long as one copy of it is (engines may hold two blocks of equal content);
- a block is reported only while all blocks before it are held: what an eviction in mid-sequence cuts off is
  reported as gone, and comes back when the missing block does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from dynamo.llm.engines.base import BlocksCleared, BlocksRemoved, BlocksStored, KvEvent
from dynamo.llm.kv.hashing import MASK64, root_hash, step_powers


class Held(msgspec.Struct, frozen=True, tag="s", array_like=True, gc=False):
    """These prefixes are cached now; sequence hashes, parents before children."""

    dp_rank: int
    hashes: Sequence[int]


class Gone(msgspec.Struct, frozen=True, tag="r", array_like=True, gc=False):
    """These prefixes no longer are."""

    dp_rank: int
    hashes: Sequence[int]


class Emptied(msgspec.Struct, frozen=True, tag="c", array_like=True):
    """Nothing is cached on this rank any more."""

    dp_rank: int


CacheChange = Held | Gone | Emptied


class _Block(msgspec.Struct, eq=False):
    """A block by its sequence hash, in the tree of prefixes. `copies` 0: evicted, but blocks below are still held."""

    sequence: int
    parent: _Block | None
    depth: int
    copies: int = 1
    visible: bool = False
    child: _Block | None = None  # nearly all blocks have one child at most,
    children: set[_Block] | None = None  # the others have it here as well

    def adopt(self, block: _Block) -> None:
        if self.child is None:
            self.child = block
            return
        if self.children is None:
            self.children = {self.child}
        self.children.add(block)

    def disown(self, block: _Block) -> None:
        if self.children is None:
            self.child = None
            return
        self.children.discard(block)
        self.child = next(iter(self.children), None)

    def below(self) -> Iterable[_Block]:
        if self.children is not None:
            return self.children
        return () if self.child is None else (self.child,)


class _Rank:
    """The blocks of one data-parallel rank."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.by_name: dict[int, _Block] = {}
        self.by_sequence: dict[int, _Block] = {}

    def stored(self, event: BlocksStored) -> tuple[list[int], int]:
        """Newly visible sequence hashes, and the number of blocks that no known chain leads to."""
        parent: _Block | None = None
        sequence, depth = root_hash(event.lora, event.salt), 0
        if event.parent_hash is not None:
            parent = self.by_name.get(event.parent_hash)
            if parent is None:
                return [], len(event.blocks)
            sequence, depth = parent.sequence, parent.depth + 1
        fresh: list[int] = []
        powers = step_powers(depth + len(event.blocks))
        by_name, by_sequence = self.by_name, self.by_sequence
        for stored in event.blocks:
            # As kv.hashing.chain does, without a list in between.
            sequence = (sequence + stored.tokens_hash * powers[depth]) & MASK64
            block = by_sequence.get(sequence)
            if block is None:
                block = by_sequence[sequence] = _Block(sequence, parent, depth)
                if parent is not None:
                    parent.adopt(block)
            else:
                block.copies += 1
            by_name[stored.block_hash] = block
            if not block.visible and (parent is None or parent.visible):
                self._show(block, fresh)
            parent, depth = block, depth + 1
        return fresh, 0

    def _show(self, block: _Block, fresh: list[int]) -> None:
        block.visible = True
        fresh.append(block.sequence)
        if block.child is None:
            return
        pending = [child for child in block.below() if child.copies]
        while pending:
            block = pending.pop()
            block.visible = True
            fresh.append(block.sequence)
            pending.extend(child for child in block.below() if child.copies)

    def removed(self, names: Iterable[int]) -> list[int]:
        """Sequence hashes that are not visible any more."""
        gone: list[int] = []
        for name in names:
            block = self.by_name.get(name)
            if block is None or not block.copies:
                continue
            block.copies -= 1
            if block.copies:
                continue
            if block.visible:
                self._hide(block, gone)
            self._forget(name, block)
        return gone

    def _hide(self, block: _Block, gone: list[int]) -> None:
        pending = [block]
        while pending:
            block = pending.pop()
            block.visible = False
            gone.append(block.sequence)
            pending.extend(child for child in block.below() if child.visible)

    def _forget(self, name: int, block: _Block) -> None:
        """Drop an evicted block, and evicted ancestors that only it kept. A block with children stays as a link."""
        del self.by_name[name]
        while not block.copies and block.child is None:
            del self.by_sequence[block.sequence]
            if block.parent is None:
                return
            block.parent.disown(block)
            block = block.parent

    def visible(self) -> list[int]:
        """Sequence hashes of all visible blocks, parents before children."""
        shown = [block for block in self.by_sequence.values() if block.visible]
        shown.sort(key=lambda block: block.depth)
        return [block.sequence for block in shown]


class BlockMirror:
    """What one worker's engine holds, fed with the engine's events in order."""

    def __init__(self) -> None:
        self._ranks: dict[int, _Rank] = {}
        self.orphans = 0
        """Blocks that were reported below a parent nobody knows; they cannot be placed and are left out."""

    def apply(self, event: KvEvent) -> CacheChange | None:
        """The change that a router must learn, or None when there is nothing to say."""
        rank = self._ranks.get(event.dp_rank)
        if rank is None:
            rank = self._ranks[event.dp_rank] = _Rank(event.dp_rank)
        if isinstance(event, BlocksStored):
            fresh, orphans = rank.stored(event)
            self.orphans += orphans
            return Held(rank.number, fresh) if fresh else None
        if isinstance(event, BlocksRemoved):
            gone = rank.removed(event.block_hashes)
            return Gone(rank.number, gone) if gone else None
        assert isinstance(event, BlocksCleared)
        held = bool(rank.by_sequence)
        self._ranks[event.dp_rank] = _Rank(event.dp_rank)
        return Emptied(rank.number) if held else None

    def snapshot(self) -> list[CacheChange]:
        """Everything that is held, as changes to an empty index."""
        return [Held(number, hashes) for number, rank in self._ranks.items() if (hashes := rank.visible())]
