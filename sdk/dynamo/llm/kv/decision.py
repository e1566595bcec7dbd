"""A routing decision with its reasons, and who may follow a router's decisions."""

from __future__ import annotations

import msgspec

from dynamo.llm.kv.active import Floats
from dynamo.llm.kv.hashing import Hashes
from dynamo.llm.kv.index import Slots
from dynamo.llm.kv.workers import Worker


class Candidate(msgspec.Struct, frozen=True):
    """One worker as a decision saw it. Blocks; `cost` is what the cost function gave, lower is better."""

    worker: Worker
    overlap_blocks: int
    active_blocks: int
    cost: float
    eligible: bool


class Decision(msgspec.Struct, eq=False, gc=False):
    """Where a request goes and why. `overlap_blocks` is the prediction of what need not be computed.

    The arrays are those that the choice was made from, indexed by slot; `candidates` reads them.
    """

    request_id: str
    worker: Worker
    mode: str
    prompt_tokens: int
    hashes: Hashes
    overlap_blocks: int
    best_overlap_blocks: int
    _workers: dict[int, Worker]
    _all_slots: Slots
    _chosen_from: Slots
    _overlap: Floats
    _held: Floats
    _costs: Floats

    @property
    def prompt_blocks(self) -> int:
        """Full blocks of the prompt: those that can be in a cache."""
        return len(self.hashes)

    @property
    def avoidable_blocks(self) -> int:
        """Blocks to be computed that another eligible worker held."""
        return max(self.best_overlap_blocks - self.overlap_blocks, 0)

    @property
    def candidates(self) -> list[Candidate]:
        """Every worker that was looked at, cheapest first; made when asked for."""
        eligible = set(self._chosen_from.tolist())
        found = [
            Candidate(
                self._workers[slot],
                int(self._overlap[slot]),
                int(self._held[slot]),
                float(self._costs[slot]),
                slot in eligible,
            )
            for slot in self._all_slots.tolist()
        ]
        return sorted(found, key=lambda candidate: (not candidate.eligible, candidate.cost))


class Actual(msgspec.Struct, frozen=True):
    """What an engine said of one request: of its prompt's full blocks, how many it had cached."""

    request_id: str
    worker: Worker
    prompt_blocks: int
    cached_blocks: int


class Observer:
    """What a router tells whoever follows it; every method does nothing unless overridden."""

    def decided(self, decision: Decision) -> None: ...

    def first_token(self, request_id: str) -> None: ...

    def cached(self, actual: Actual) -> None: ...

    def progressed(self, request_id: str, generated_tokens: int) -> None: ...

    def finished(self, request_id: str) -> None: ...

    def worker_changed(self, worker: Worker, *, gone: bool) -> None: ...
