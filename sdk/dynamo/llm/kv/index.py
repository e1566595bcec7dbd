"""The prefix index: which workers hold which prefixes, found without walking every block.

A block is keyed by its sequence hash, which names the whole prefix up to it, so a position of a prompt
can be looked up on its own. The value is the set of workers that hold the block, as the bits of an
integer. Workers only ever report a block as held while they hold all blocks before it (`kv.mirror` sees to
that), so the sets shrink along a prompt, and a binary search over positions finds where each worker stops:
O(log n) probes for each distinct depth.

A worker that goes takes its bit with it at once: the bit is masked out of every answer, and the entries
are swept a few at a time by later calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dynamo.llm.kv.hashing import Hashes
from dynamo.llm.kv.workers import Worker

Slots = npt.NDArray[np.intp]

SWEEP_PER_BLOCK = 4
"""Entries looked at for each block stored while a lost worker's bits are still about."""
MASK_CACHE = 4096
SET_CACHE = 1 << 16


def bits_of(mask: int) -> list[int]:
    """Positions of the bits that are set, ascending."""
    out = []
    while mask:
        low = mask & -mask
        out.append(low.bit_length() - 1)
        mask ^= low
    return out


class Matches:
    """How far each worker's cache covers a prompt: (set of workers as bits, blocks) pairs, deepest first."""

    __slots__ = ("_index", "segments")

    def __init__(self, index: PrefixIndex, segments: list[tuple[int, int]]) -> None:
        self._index = index
        self.segments = segments

    @property
    def best(self) -> int:
        """The longest overlap, in blocks."""
        return self.segments[0][1] if self.segments else 0

    def scores(self) -> dict[Worker, int]:
        """Blocks of the prompt that each worker holds; workers without any are absent."""
        workers = self._index.workers_by_bit
        return {workers[bit]: depth for mask, depth in self.segments for bit in bits_of(mask)}

    def spread(self, out: npt.NDArray[Any]) -> None:
        """Write each worker's overlap into `out[slot]`."""
        slots_of = self._index.slots_of
        for mask, depth in self.segments:
            out[slots_of(mask)] = depth


class _Holding:
    """One worker in the index. `plus`: a set of workers without it -> the same set with it."""

    __slots__ = ("blocks", "mask", "number", "plus", "slot")

    def __init__(self, number: int, slot: int) -> None:
        self.number = number
        self.slot = slot
        self.mask = 1 << number
        self.blocks = 0
        self.plus: dict[int, int] = {}


class PrefixIndex:
    """Sequence hash of a block -> workers that hold it."""

    def __init__(self) -> None:
        self._holders: dict[int, int] = {}
        self._holdings: dict[Worker, _Holding] = {}
        self.workers_by_bit: dict[int, Worker] = {}
        self._sets: dict[int, int] = {}
        self._slots: dict[int, Slots] = {}
        self._alive = 0
        self._retired = 0
        self._sweep: list[int] = []
        self._next_bit = 0
        self._free_bits: list[int] = []

    def __len__(self) -> int:
        """Distinct blocks in the index, those of lost workers included until they are swept."""
        return len(self._holders)

    def __contains__(self, key: object) -> bool:
        """Whether a block is in the index (perhaps for a lost worker alone)."""
        return key in self._holders

    @property
    def blocks(self) -> dict[Worker, int]:
        """How many blocks each worker holds."""
        return {worker: holding.blocks for worker, holding in self._holdings.items()}

    def blocks_of(self, worker: Worker) -> int:
        """How many blocks one worker holds."""
        holding = self._holdings.get(worker)
        return 0 if holding is None else holding.blocks

    def add_worker(self, worker: Worker, slot: int | None = None) -> None:
        """A worker without blocks, if it is not known. `slot`: its place in the arrays of `Matches.spread`."""
        if worker not in self._holdings:
            self._join(worker, slot)

    def _join(self, worker: Worker, slot: int | None = None) -> _Holding:
        if self._free_bits:
            bit = self._free_bits.pop()
        else:
            bit, self._next_bit = self._next_bit, self._next_bit + 1
        holding = self._holdings[worker] = _Holding(bit, bit if slot is None else slot)
        self.workers_by_bit[bit] = worker
        self._alive |= holding.mask
        return holding

    def store(self, worker: Worker, hashes: Sequence[int]) -> int:
        """Note that `worker` holds these blocks; returns how many of them are news."""
        holding = self._holdings.get(worker)
        if holding is None:
            holding = self._join(worker)
        alone, holders = holding.mask, self._holders
        note, size, news = holders.setdefault, len(holders), 0
        for key in hashes:
            before = note(key, alone)
            if before != alone:
                after = holding.plus.get(before)
                if after is None:
                    after = holding.plus[before] = self._shared(before | alone)
                if after != before:
                    holders[key] = after
                    news += 1
        news += len(holders) - size  # the blocks that nobody had
        holding.blocks += news
        if self._sweep:
            self.sweep(SWEEP_PER_BLOCK * len(hashes))
        return news

    def _shared(self, mask: int) -> int:
        """One object for equal sets: millions of blocks have a handful of different holder sets."""
        if len(self._sets) >= SET_CACHE:
            self._sets.clear()
            for holding in self._holdings.values():
                holding.plus.clear()
        return self._sets.setdefault(mask, mask)

    def remove(self, worker: Worker, hashes: Iterable[int]) -> int:
        """Note that `worker` no longer holds these blocks; returns how many it held."""
        holding = self._holdings.get(worker)
        if holding is None:
            return 0
        bit = holding.mask
        holders = self._holders
        gone = 0
        for key in hashes:
            before = holders.get(key, 0)
            if before & bit:
                gone += 1
                after = before ^ bit
                if after:
                    holders[key] = self._shared(after)
                else:
                    del holders[key]
        holding.blocks -= gone
        return gone

    def clear(self, worker: Worker) -> None:
        """The worker's cache is empty now. Takes effect at once, whatever the number of blocks."""
        holding = self._holdings.get(worker)
        if holding is not None:
            self.remove_worker(worker)
            self._join(worker, holding.slot)

    def remove_worker(self, worker: Worker) -> int:
        """Forget the worker and its blocks at once; returns how many it held."""
        holding = self._holdings.pop(worker, None)
        if holding is None:
            return 0
        del self.workers_by_bit[holding.number]
        self._alive &= ~holding.mask
        self._slots.clear()
        if holding.blocks:
            self._retired |= holding.mask
            self._sweep = list(self._holders)
        else:
            self._free_bits.append(holding.number)
        return holding.blocks

    def sweep(self, limit: int) -> bool:
        """Look at up to `limit` entries for bits of lost workers; True when none are left to look at."""
        holders, retired = self._holders, self._retired
        keys = self._sweep[-limit:] if limit else []
        del self._sweep[len(self._sweep) - len(keys) :]
        for key in keys:
            before = holders.get(key, 0)
            if before & retired:
                after = before & ~retired
                if after:
                    holders[key] = self._shared(after)
                else:
                    del holders[key]
        if not self._sweep and retired:
            self._free_bits.extend(bits_of(retired))
            self._retired = 0
        return not self._sweep

    def slots_of(self, mask: int) -> Slots:
        """The slots of a set of workers as an index array, remembered: the same sets come again and again."""
        slots = self._slots.get(mask)
        if slots is None:
            if len(self._slots) >= MASK_CACHE:
                self._slots.clear()
            workers = [self.workers_by_bit[bit] for bit in bits_of(mask)]
            slots = self._slots[mask] = np.array([self._holdings[worker].slot for worker in workers], np.intp)
        return slots

    def match(self, hashes: Hashes | Sequence[int]) -> Matches:
        """Overlap of every worker with a prompt of these sequence hashes."""
        count = len(hashes)
        if not count or not self._holders:
            return Matches(self, [])
        get = self._alive_holders if self._retired else self._holders.get
        at: Any = hashes.item if isinstance(hashes, np.ndarray) else hashes.__getitem__
        first = get(at(0), 0)
        if not first:
            return Matches(self, [])
        last = get(at(count - 1), 0)
        segments = [(last, count)] if last else []
        # Each entry is a stretch whose ends differ: somebody's prefix stops inside it. Right halves first.
        stretches = [(0, first, count - 1, last)] if first != last else []
        while stretches:
            low, at_low, high, at_high = stretches.pop()
            while high - low > 1:
                middle = (low + high) >> 1
                at_middle = get(at(middle), 0)
                if at_middle == at_low:
                    low = middle
                elif at_middle == at_high:
                    high = middle
                else:
                    stretches.append((low, at_low, middle, at_middle))
                    low, at_low = middle, at_middle
            stopped = at_low & ~at_high
            if stopped:
                segments.append((stopped, low + 1))
        return Matches(self, segments)

    def _alive_holders(self, key: int, default: int) -> int:
        """Like `get` of the entries, while bits of lost workers are still about."""
        return self._holders.get(key, default) & self._alive
