"""The KV router: picks a worker for a prompt, explains the choice, and follows the request to its end.

Pure and synchronous: changes of caches and loads are fed in (`kv.events` does that over the runtime), and
nothing here waits, so requests that arrive together see each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import numpy as np

from dynamo.llm.engines.base import EngineLoad
from dynamo.llm.kv.active import ActiveLoad, Floats, landmarks
from dynamo.llm.kv.approx import ApproxIndex
from dynamo.llm.kv.decision import Actual, Decision, Observer
from dynamo.llm.kv.hashing import BlockHasher, Hashes, root_hash
from dynamo.llm.kv.hitrate import HitRates
from dynamo.llm.kv.index import PrefixIndex, Slots
from dynamo.llm.kv.mirror import CacheChange, Emptied, Gone, Held
from dynamo.llm.kv.options import RouteOverrides, RouterOptions
from dynamo.llm.kv.scheduler import AllWorkersBusy, NoCandidates, Scheduler
from dynamo.llm.kv.workers import Worker, WorkerTable

_NO_OVERRIDES = RouteOverrides()


class KvRouter:
    """Routes prompts among the workers it was told of.

    `find_best` only looks; `routed` commits, and the request counts as load until `finished`.
    """

    def __init__(self, options: RouterOptions | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.options = options or RouterOptions()
        self.hasher = BlockHasher(self.options.block_size)
        self.index = PrefixIndex()
        self.approx = ApproxIndex(self.options.approx_ttl)
        self.active = ActiveLoad(self.options.block_size)
        self.scheduler = Scheduler(self.options, self.active)
        self.table = WorkerTable()
        self.rates = HitRates()
        self.worker_rates: dict[Worker, HitRates] = {}
        self.observers: list[Observer] = []
        self.clock = clock
        self._workers: dict[int, Worker] = {}  # by slot; replaced, never changed, so that decisions may keep it
        self._known: dict[tuple[int, int], Worker] = {}
        self._slots: Slots = np.empty(0, np.intp)
        self._prompt_blocks: dict[str, int] = {}
        self._routed_at: dict[str, float] = {}  # in order of routing

    # -- workers -------------------------------------------------------------------------------------------------

    def add_worker(self, worker: Worker) -> None:
        """A worker has joined (again: no effect)."""
        if worker in self.table:
            return
        slot = self.table.add(worker)
        self.scheduler.add_worker(worker, slot)
        self.worker_rates[worker] = HitRates()
        self.index.add_worker(worker, slot)
        self.approx.index.add_worker(worker, slot)
        self._relist()
        for observer in self.observers:
            observer.worker_changed(worker, gone=False)

    def remove_instance(self, instance: int) -> None:
        """An instance is gone: its workers' blocks, load and requests are forgotten at once."""
        for worker in [worker for worker, _ in self.table.items() if worker.instance == instance]:
            for request_id in self.active.remove_worker(worker):
                self._prompt_blocks.pop(request_id, None)
                self._routed_at.pop(request_id, None)
            self.index.remove_worker(worker)
            self.approx.remove_worker(worker)
            self.scheduler.reported.reset(self.table.slot(worker))
            self.table.remove(worker)
            del self.worker_rates[worker]
            self._relist()
            for observer in self.observers:
                observer.worker_changed(worker, gone=True)

    def _relist(self) -> None:
        items = sorted(self.table.items())
        self._workers = {slot: worker for worker, slot in items}
        self._known = {(worker.instance, worker.dp_rank): worker for worker, _ in items}
        self._slots = np.array([slot for _, slot in items], np.intp)

    @property
    def workers(self) -> list[Worker]:
        return sorted(worker for worker, _ in self.table.items())

    # -- what workers tell -----------------------------------------------------------------------------------------

    def apply(self, instance: int, change: CacheChange) -> None:
        """A change of an instance's cache."""
        try:
            worker = self._known[instance, change.dp_rank]
        except KeyError:
            worker = Worker(instance, change.dp_rank)
            self.add_worker(worker)
        if isinstance(change, Held):
            self.index.store(worker, change.hashes)
            if self.active.awaited:
                self.active.cached(worker, change.hashes)
        elif isinstance(change, Gone):
            self.index.remove(worker, change.hashes)
        else:
            assert isinstance(change, Emptied)
            self.index.clear(worker)

    def restore(self, instance: int, snapshot: Sequence[CacheChange]) -> None:
        """All that an instance holds, in place of what was known of it."""
        for worker in self.workers:
            if worker.instance == instance:
                self.index.clear(worker)
        for change in snapshot:
            self.apply(instance, change)

    def report(self, worker: Worker, load: EngineLoad) -> None:
        """A worker's own load figures."""
        self.add_worker(worker)
        self.scheduler.reported.update(self.table.slot(worker), load)
        self.approx.set_capacity(worker, load.total_blocks or None)
        for observer in self.observers:
            observer.worker_changed(worker, gone=False)

    # -- decisions -------------------------------------------------------------------------------------------------

    def hashes(self, token_ids: Sequence[int] | bytes, *, lora: str | None = None, salt: str | None = None) -> Hashes:
        """Sequence hashes of a prompt's full blocks."""
        return self.hasher.sequence(token_ids, root_hash(lora, salt))

    def find_best(
        self,
        token_ids: Sequence[int] | bytes,
        *,
        request_id: str = "",
        lora: str | None = None,
        salt: str | None = None,
        overrides: RouteOverrides | None = None,
        allowed: Collection[int] | None = None,
        excluded: Collection[int] = (),
    ) -> Decision:
        """The worker to send this prompt to. Changes nothing; call `routed` with the decision to commit it.

        Args:
            token_ids: ids, or bytes from `kv.hashing.pack_tokens` (faster).
            allowed: instance ids that may be chosen (None: all), e.g. those that discovery knows.
            excluded: instance ids that may not, e.g. those that were tried.

        Raises:
            NoCandidates: nobody is left to choose from.
            AllWorkersBusy: everybody is over the busy thresholds.
            InvalidTokens: ids out of range.
        """
        told = overrides or _NO_OVERRIDES
        options = self.options
        slots = self._candidates(allowed, excluded, told.worker)
        if not len(slots):
            raise NoCandidates(len(self.table))
        chosen_from = self.scheduler.eligible(slots)
        if not len(chosen_from):
            raise AllWorkersBusy(len(slots))
        mode = told.mode or options.mode
        hashes = self.hashes(token_ids, lora=lora, salt=salt)
        prompt_tokens = len(token_ids) // 4 if isinstance(token_ids, bytes) else len(token_ids)
        overlap, shared = self._overlaps(mode, hashes, max(prompt_tokens - 1, 0) // options.block_size)
        costs = self._costs(mode, told, -(-prompt_tokens // options.block_size), overlap, shared)
        eligible = overlap if chosen_from is self._slots else overlap[chosen_from]
        best = int(eligible[eligible.argmax()])
        slot = self._choose(mode, told, chosen_from, costs, new=not best)
        return Decision(
            request_id,
            self._workers[slot],
            mode,
            prompt_tokens,
            hashes,
            int(overlap[slot]),
            best,
            self._workers,
            slots,
            chosen_from,
            overlap,
            self.active.held_blocks.copy(),
            costs,
        )

    def _candidates(self, allowed: Collection[int] | None, excluded: Collection[int], pinned: int | None) -> Slots:
        if allowed is None and not excluded and pinned is None:
            return self._slots
        return np.array(
            [
                slot
                for slot, worker in self._workers.items()
                if (allowed is None or worker.instance in allowed)
                and worker.instance not in excluded
                and (pinned is None or worker.instance == pinned)
            ],
            np.intp,
        )

    def _overlaps(self, mode: str, hashes: Hashes, most: int) -> tuple[Floats, Floats | None]:
        """Per slot: blocks that need not be computed, and blocks that requests in flight hold (None: none).

        `most` bounds the former: an engine always computes the prompt's last token.
        """
        cached = np.zeros(len(self.active.requests))
        if not len(hashes):
            return cached, None
        if mode == "approx-kv":
            self.approx.match(hashes, self.clock()).spread(cached)
        else:
            self.index.match(hashes).spread(cached)
        shared = self.active.overlaps(hashes)
        if shared is not None:
            np.maximum(cached, shared, out=cached)
        if most < len(hashes):
            np.minimum(cached, most, out=cached)
        return cached, shared

    def _costs(
        self, mode: str, told: RouteOverrides, prompt_blocks: int, overlap: Floats, shared: Floats | None
    ) -> Floats:
        scheduler, options = self.scheduler, self.options
        if mode == "least-loaded":
            reported = scheduler.reported
            fewest: Floats = np.maximum(self.active.requests, reported.running + reported.waiting)
            return fewest
        weight = options.overlap_weight if told.overlap_weight is None else told.overlap_weight
        scale = options.prefill_load_scale if told.prefill_load_scale is None else told.prefill_load_scale
        if mode == "kv-load":
            weight = 0.0
        return scheduler.costs(told.cost or options.cost, prompt_blocks, overlap, shared, weight, scale)

    def _choose(self, mode: str, told: RouteOverrides, slots: Slots, costs: Floats, *, new: bool) -> int:
        scheduler = self.scheduler
        if mode == "round-robin":
            return scheduler.in_turn(slots)
        if mode == "random":
            return scheduler.at_random(slots)
        temperature = self.options.temperature if told.temperature is None else told.temperature
        if temperature > 0 and mode != "least-loaded":
            return scheduler.sample(slots, costs, temperature)
        cheapest = scheduler.cheapest(slots, costs)
        if new and len(cheapest) > 1:
            cheapest = self._emptiest(mode, cheapest)
        return scheduler.in_turn(cheapest)

    def _emptiest(self, mode: str, slots: Slots) -> Slots:
        """Where a prompt that nobody has evicts the least: the workers with the fewest cached blocks."""
        index = self.approx.index if mode == "approx-kv" else self.index
        held = [index.blocks_of(self._workers[slot]) for slot in slots.tolist()]
        fewest = min(held)
        return slots[[number == fewest for number in held]]

    # -- life of a request -------------------------------------------------------------------------------------------

    def routed(self, decision: Decision) -> None:
        """The decision is carried out: from now on the request counts as load of its worker."""
        self.finished(decision.request_id)  # a retry under the same id replaces the first attempt
        now = self.clock()
        self._forget_before(now - self.options.request_ttl)
        self._routed_at[decision.request_id] = now
        blocks = -(-decision.prompt_tokens // self.options.block_size)
        self.active.add(
            decision.request_id,
            decision.worker,
            prompt_tokens=decision.prompt_tokens,
            prefill_blocks=blocks - decision.overlap_blocks,
            marks=landmarks(decision.hashes),
        )
        if decision.mode == "approx-kv":
            self.approx.routed(decision.request_id, decision.worker, decision.hashes, decision.overlap_blocks)
        self._prompt_blocks[decision.request_id] = decision.prompt_blocks
        for rates in (self.rates, self.worker_rates[decision.worker]):
            rates.predicted.add(decision.prompt_blocks, decision.overlap_blocks)
            rates.avoidable_blocks += decision.avoidable_blocks
        for observer in self.observers:
            observer.decided(decision)

    def first_token(self, request_id: str, cached_tokens: int | None = None) -> None:
        """The first output has come; `cached_tokens` of the prompt came from the engine's cache, if it says so."""
        request = self.active.first_token(request_id)
        if request is None:
            return
        for observer in self.observers:
            observer.first_token(request_id)
        if cached_tokens is None:
            return
        blocks = self._prompt_blocks.pop(request_id, None)  # popped: a request counts once
        if blocks is None:
            return
        cached = min(cached_tokens // self.options.block_size, blocks)
        self.approx.first_token(request_id, cached)
        for rates in (self.rates, self.worker_rates[request.worker]):
            rates.actual.add(blocks, cached)
        for observer in self.observers:
            observer.cached(Actual(request_id, request.worker, blocks, cached))

    def progress(self, request_id: str, generated_tokens: int) -> None:
        """The request has generated this many tokens in all. Cheap: call it with each delta or now and then."""
        if self.active.progress(request_id, generated_tokens):
            for observer in self.observers:
                observer.progressed(request_id, generated_tokens)

    def finished(self, request_id: str) -> None:
        """The request has ended: done, failed, cancelled, or never sent. Unknown ids are ignored."""
        request = self.active.finish(request_id)
        self._prompt_blocks.pop(request_id, None)
        self._routed_at.pop(request_id, None)
        if request is not None:
            self.approx.finished(request_id, request.generated_blocks(self.options.block_size), self.clock())
            for observer in self.observers:
                observer.finished(request_id)

    def _forget_before(self, then: float) -> None:
        while self._routed_at:
            request_id = next(iter(self._routed_at))
            if self._routed_at[request_id] > then:
                return
            self.finished(request_id)
