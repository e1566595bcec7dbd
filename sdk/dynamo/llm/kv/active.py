"""What the requests in flight hold and will hold: load that no worker has reported yet.

Between two reports of a worker, everything a router knows of its load is what the router itself sent there.
This module keeps that: blocks still to be prefilled, blocks held, and the prompts themselves, so that a
second request with the same prefix finds the first one's worker even before the engine has cached a block.

Prompts are kept at landmarks, not block by block: every one of the first 16 positions, then eight in each
doubling. That is about 50 entries for 512 blocks; a shared prefix is found to within an eighth of its length,
always on the low side.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dynamo.llm.kv.hashing import Hashes
from dynamo.llm.kv.index import PrefixIndex
from dynamo.llm.kv.workers import Worker, with_room

Floats = npt.NDArray[np.float64]

MAX_BLOCKS = 1 << 22


def _landmark_counts() -> list[int]:
    counts, step = list(range(1, 17)), 2
    while (base := counts[-1]) < MAX_BLOCKS:
        counts.extend([base + step * i for i in range(1, 9)])
        step *= 2
    return counts


_COUNTS = _landmark_counts()
_WIDTHS = [b - a for a, b in zip([0, *_COUNTS], _COUNTS, strict=False)]
_POSITIONS = np.array(_COUNTS, np.intp) - 1


@lru_cache(maxsize=4096)
def _landmarks(blocks: int) -> tuple[int, npt.NDArray[np.intp]]:
    count = bisect_right(_COUNTS, blocks)
    return count, _POSITIONS[:count]


def landmarks(hashes: Hashes) -> list[int]:
    """The sequence hashes at landmark positions of a prompt."""
    picked: list[int] = hashes[_landmarks(len(hashes))[1]].tolist()
    return picked


class ActiveRequest:
    """One request between its routing and its end."""

    __slots__ = ("generated_tokens", "held_blocks", "marks", "prefill_blocks", "prompt_tokens", "tail_blocks", "worker")

    def __init__(self, worker: Worker, prompt_tokens: int, prefill_blocks: float, tail_blocks: int, marks: list[int]):
        self.worker = worker
        self.prompt_tokens = prompt_tokens
        self.prefill_blocks = prefill_blocks  # 0 once the first token has come
        self.tail_blocks = tail_blocks  # blocks of the prompt beyond the last landmark
        self.held_blocks = 0  # blocks filled by generated tokens
        self.generated_tokens = 0
        self.marks = marks

    def generated_blocks(self, block_size: int) -> int:
        """Full blocks that are there because of generated tokens."""
        return (self.prompt_tokens + self.generated_tokens) // block_size - self.prompt_tokens // block_size


class ActiveLoad:
    """Predicted load of each worker, in arrays indexed by slot."""

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._prompts = PrefixIndex()
        self._counts: dict[Worker, dict[int, int]] = {}
        self._requests: dict[str, ActiveRequest] = {}
        self.awaited: dict[int, list[ActiveRequest]] = {}
        """Last landmark of a prompt -> the requests with it that are not known to be computed."""
        self._slots: dict[Worker, int] = {}
        self.prefill_blocks: Floats = np.zeros(64)
        """Blocks that were routed and are not known to be computed yet."""
        self.held_blocks: Floats = np.zeros(64)
        """Distinct blocks held by requests in flight; a shared prefix counts once."""
        self.requests: Floats = np.zeros(64)

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._requests

    def get(self, request_id: str) -> ActiveRequest | None:
        return self._requests.get(request_id)

    def add_worker(self, worker: Worker, slot: int) -> None:
        self.prefill_blocks = with_room(self.prefill_blocks, slot)
        self.held_blocks = with_room(self.held_blocks, slot)
        self.requests = with_room(self.requests, slot)
        for array in (self.prefill_blocks, self.held_blocks, self.requests):
            array[slot] = 0
        self._slots[worker] = slot
        self._counts[worker] = {}
        self._prompts.add_worker(worker, slot)

    def remove_worker(self, worker: Worker) -> list[str]:
        """Forget the worker; returns the ids of the requests it had."""
        lost = [request_id for request_id, request in self._requests.items() if request.worker == worker]
        for request_id in lost:
            self._await_no_more(self._requests.pop(request_id))
        slot = self._slots.pop(worker)
        for array in (self.prefill_blocks, self.held_blocks, self.requests):
            array[slot] = 0
        del self._counts[worker]
        self._prompts.remove_worker(worker)
        return lost

    def overlaps(self, hashes: Hashes) -> Floats | None:
        """How many blocks of this prompt each worker's requests in flight cover (at least), by slot; None: none."""
        if not len(hashes) or hashes.item(0) not in self._prompts:
            return None
        prompts = self._prompts
        out: Floats = np.zeros(len(self.requests))
        for mask, depth in prompts.match(hashes[_landmarks(len(hashes))[1]]).segments:
            out[prompts.slots_of(mask)] = _COUNTS[depth - 1]
        return out

    def add(
        self, request_id: str, worker: Worker, *, prompt_tokens: int, prefill_blocks: float, marks: list[int]
    ) -> None:
        """A request was routed. `prefill_blocks` of its prompt are to be computed."""
        slot = self._slots[worker]
        tail = -(-prompt_tokens // self._block_size) - (_COUNTS[len(marks) - 1] if marks else 0)
        request = self._requests[request_id] = ActiveRequest(worker, prompt_tokens, prefill_blocks, max(tail, 0), marks)
        if prefill_blocks and marks:
            self.awaited.setdefault(marks[-1], []).append(request)
        counts = self._counts[worker]
        held, fresh = max(tail, 0), []
        for mark, width in zip(marks, _WIDTHS, strict=False):
            count = counts.get(mark, 0)
            counts[mark] = count + 1
            if not count:
                held += width
                fresh.append(mark)
        if fresh:
            self._prompts.store(worker, fresh)
        self.prefill_blocks[slot] += prefill_blocks
        self.held_blocks[slot] += held
        self.requests[slot] += 1

    def first_token(self, request_id: str) -> ActiveRequest | None:
        """The prompt is computed: it is held, and no longer ahead of others."""
        request = self._requests.get(request_id)
        if request is not None:
            self._computed(request)
        return request

    def cached(self, worker: Worker, hashes: Sequence[int]) -> None:
        """The worker has cached these blocks: the prompts there that they end are computed.

        Cache events come straight from the worker, sooner than the news of a first token by way of its reader.
        """
        if self.awaited.keys().isdisjoint(hashes):
            return
        for key in self.awaited.keys() & set(hashes):
            for request in list(self.awaited[key]):
                if request.worker == worker:
                    self._computed(request)

    def _computed(self, request: ActiveRequest) -> None:
        if request.prefill_blocks:
            self._await_no_more(request)
            self.prefill_blocks[self._slots[request.worker]] -= request.prefill_blocks
            request.prefill_blocks = 0

    def _await_no_more(self, request: ActiveRequest) -> None:
        if request.prefill_blocks and request.marks:
            waiting = self.awaited[request.marks[-1]]
            waiting.remove(request)
            if not waiting:
                del self.awaited[request.marks[-1]]

    def progress(self, request_id: str, generated_tokens: int) -> bool:
        """The request has generated this many tokens in all; true when it holds more blocks than before."""
        request = self._requests.get(request_id)
        if request is None:
            return False
        request.generated_tokens = generated_tokens
        size = self._block_size
        held = -(-(request.prompt_tokens + generated_tokens) // size) + (-request.prompt_tokens // size)
        if held == request.held_blocks:
            return False
        self.held_blocks[self._slots[request.worker]] += held - request.held_blocks
        request.held_blocks = held
        return True

    def finish(self, request_id: str) -> ActiveRequest | None:
        """The request has ended, however it did; None if it was not in flight."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return None
        self._await_no_more(request)
        slot, counts = self._slots[request.worker], self._counts[request.worker]
        held, gone = request.tail_blocks + request.held_blocks, []
        for mark, width in zip(request.marks, _WIDTHS, strict=False):
            count = counts[mark] - 1
            if count:
                counts[mark] = count
            else:
                del counts[mark]
                held += width
                gone.append(mark)
        if gone:
            self._prompts.remove(request.worker, gone)
        self.prefill_blocks[slot] -= request.prefill_blocks
        self.held_blocks[slot] -= held
        self.requests[slot] -= 1
        return request
