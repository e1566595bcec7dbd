"""Which worker gets a request: cost of every worker, and the choice among them.

Two cost functions, both minimised here:

- "blocks", today's NVIDIA Dynamo: `scale * max(prefill + prompt - weight * overlap, 0) + decode`, where `prefill`
  are the blocks still to be computed for requests already there and `decode` the blocks held by them once
  this prompt has joined (a prefix that is held already is not counted twice).
- "usage", its SDK era (0.2-0.3): `-(2 * weight * overlap / prompt - cache usage - waiting / most waiting)`.

Load is what requests in flight are predicted to hold (`kv.active`); what workers report only adds to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dynamo.llm.engines.base import EngineLoad
from dynamo.llm.errors import Busy, NoWorkers
from dynamo.llm.kv.active import ActiveLoad, Floats
from dynamo.llm.kv.index import Slots
from dynamo.llm.kv.options import CostName, RouterOptions
from dynamo.llm.kv.workers import Worker, with_room


class NoCandidates(NoWorkers):
    """Nobody to route to: no worker is known, or none of those that the request allows."""

    def __init__(self, known: int) -> None:
        what = "no worker has joined" if not known else f"none of the {known} known workers is allowed for this request"
        super().__init__(f"cannot route: {what}")
        self.known = known


class AllWorkersBusy(Busy):
    """Every worker is over the busy thresholds; try again later."""

    def __init__(self, workers: int) -> None:
        super().__init__(f"cannot route: all {workers} workers are over their busy thresholds")
        self.workers = workers


class ReportedLoad:
    """The latest load report of each worker, in arrays indexed by slot."""

    def __init__(self) -> None:
        self.usage: Floats = np.zeros(64)
        self.waiting: Floats = np.zeros(64)
        self.running: Floats = np.zeros(64)
        self.total_blocks: Floats = np.full(64, np.inf)
        self.request_slots: Floats = np.full(64, np.inf)
        self.latest: dict[int, EngineLoad] = {}

    def reset(self, slot: int) -> None:
        """A worker that has not reported, or is gone: empty, of unknown size."""
        self.usage, self.waiting = with_room(self.usage, slot), with_room(self.waiting, slot)
        self.running = with_room(self.running, slot)
        self.total_blocks = with_room(self.total_blocks, slot, np.inf)
        self.request_slots = with_room(self.request_slots, slot, np.inf)
        self.usage[slot] = self.waiting[slot] = self.running[slot] = 0
        self.total_blocks[slot] = self.request_slots[slot] = np.inf
        self.latest.pop(slot, None)

    def update(self, slot: int, load: EngineLoad) -> None:
        self.usage[slot] = load.cache_usage
        self.waiting[slot] = load.waiting_requests
        self.running[slot] = load.running_requests
        self.total_blocks[slot] = load.total_blocks or np.inf
        self.request_slots[slot] = load.request_slots or np.inf
        self.latest[slot] = load


class Scheduler:
    """Costs and choice. Arrays are indexed by slot; `slots` are the candidates."""

    def __init__(self, options: RouterOptions, active: ActiveLoad) -> None:
        self.options = options
        self.active = active
        self.reported = ReportedLoad()
        self._random = np.random.default_rng(options.seed)
        self._turn = 0

    def usage(self) -> Floats:
        """Cache usage of each worker, 0..1: reported or predicted, whichever is higher."""
        usage: Floats = np.maximum(self.reported.usage, self.active.held_blocks / self.reported.total_blocks)
        return usage

    def waiting(self) -> Floats:
        """Waiting requests of each worker: reported or predicted, whichever is higher."""
        waiting: Floats = np.maximum(self.reported.waiting, self.active.requests - self.reported.request_slots)
        return waiting

    def eligible(self, slots: Slots) -> Slots:
        """The slots below the busy thresholds."""
        options = self.options
        if options.busy_usage is not None:
            slots = slots[self.usage()[slots] < options.busy_usage]
        if options.busy_waiting is not None:
            slots = slots[self.waiting()[slots] < options.busy_waiting]
        return slots

    def costs(
        self, cost: CostName, prompt_blocks: int, overlap: Floats, shared: Floats | None, weight: float, scale: float
    ) -> Floats:
        """Cost of each slot. `overlap` are cached blocks, `shared` those that requests in flight hold."""
        if cost == "usage":
            waiting = self.waiting()
            most = waiting.max()
            score = overlap * (2 * weight / max(prompt_blocks, 1)) - self.usage()
            usage: Floats = (waiting / most if most > 0 else 0.0) - score
            return usage
        active = self.active
        costs = overlap * -weight
        costs += active.prefill_blocks
        if weight > 1:
            np.maximum(costs, -prompt_blocks, out=costs)
        costs *= scale
        costs += active.held_blocks
        costs += prompt_blocks * (scale + 1)  # once to be computed, once to be held
        if shared is not None:
            costs -= shared
        return costs

    def cheapest(self, slots: Slots, costs: npt.NDArray[Any]) -> Slots:
        """The slots of least cost; of several, those with the fewest requests in flight."""
        values = costs[slots]
        ties: Slots = slots[values <= values.item(values.argmin()) + 1e-9]
        if len(ties) > 1:
            requests = self.active.requests[ties]
            ties = ties[requests == requests.item(requests.argmin())]
        return ties

    def sample(self, slots: Slots, costs: Floats, temperature: float) -> int:
        """A slot drawn by a softmax over costs, normalised to 0..1 so that `temperature` has no unit."""
        values = costs[slots]
        spread = values.max() - values.min()
        if spread <= 0:
            return self.at_random(slots)
        weights = np.exp((values.min() - values) / (spread * temperature))
        return int(self._random.choice(slots, p=weights / weights.sum()))

    def in_turn(self, slots: Slots) -> int:
        """One of the slots, each in turn."""
        if len(slots) == 1:
            return int(slots[0])
        self._turn += 1
        return int(slots[self._turn % len(slots)])

    def at_random(self, slots: Slots) -> int:
        return int(slots[self._random.integers(len(slots))])

    def add_worker(self, worker: Worker, slot: int) -> None:
        self.active.add_worker(worker, slot)
        self.reported.reset(slot)
