"""Several simulated engines behind one router, on a virtual clock: exact, repeatable, and faster than real time.

Engines are `MockerCore`s; their events and load reports reach the router after a delay, as over a network.
Requests come in a closed loop (each client sends its next one when the last has ended) or at given times.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from dynamo.llm.engines.mocker_core import MockerCore, MockerOptions, SimRequest
from dynamo.llm.kv.mirror import BlockMirror
from dynamo.llm.kv.options import RouterOptions
from dynamo.llm.kv.router import KvRouter
from dynamo.llm.kv.workers import Worker


@dataclass(frozen=True)
class Prompt:
    tokens: list[int]
    output_tokens: int


def shared_prefixes(
    *, prefixes: int = 20, prefix_tokens: int = 2048, suffix_tokens: int = 64, requests: int = 400,
    output_tokens: int = 64, seed: int = 0,
) -> list[Prompt]:  # fmt: skip
    """`requests` prompts in random order, an equal number for each of `prefixes` shared beginnings."""
    rng = random.Random(seed)
    stems = [rng.choices(range(32_000), k=prefix_tokens) for _ in range(prefixes)]
    order = [number % prefixes for number in range(requests)]
    rng.shuffle(order)
    return [Prompt([*stems[i], *rng.choices(range(32_000), k=suffix_tokens)], output_tokens) for i in order]


def unshared(
    *, requests: int = 400, shortest: int = 256, longest: int = 4096, output_tokens: int = 64, seed: int = 0
) -> list[Prompt]:
    """Prompts of mixed lengths that share nothing."""
    rng = random.Random(seed)
    return [
        Prompt(rng.choices(range(32_000), k=rng.randrange(shortest, longest)), rng.randrange(1, 2 * output_tokens))
        for _ in range(requests)
    ]


@dataclass
class Outcome:
    """What a run measured. Times in (virtual) seconds; hit rates are ratios of sums over blocks."""

    predicted: float
    actual: float
    avoidable_share: float
    ttft: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    per_worker: list[int] = field(default_factory=list)

    def ttft_at(self, quantile: float) -> float:
        ordered = sorted(self.ttft)
        return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]

    @property
    def ttft_mean(self) -> float:
        return sum(self.ttft) / len(self.ttft)


class Cluster:
    """`workers` engines, one router. `lag` delays events and reports; loads are reported every `interval` seconds.

    `told_capacity`: what the router is told of the caches' size, as a multiple of the truth; None: nothing.
    """

    def __init__(
        self,
        workers: int,
        engine: MockerOptions,
        routing: RouterOptions,
        *,
        lag: float = 0.002,
        interval: float = 0.25,
        told_capacity: float | None = 1.0,
    ) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._lag = lag
        self._interval = interval
        self._told_capacity = told_capacity
        self.router = KvRouter(routing, clock=lambda: self.now)
        self.cores = [MockerCore(engine) for _ in range(workers)]
        self._mirrors = [BlockMirror() for _ in range(workers)]
        self._stepping = [False] * workers
        for number in range(workers):
            self.router.add_worker(Worker(number))
        self._prompts: deque[Prompt] = deque()
        self._started: dict[str, float] = {}
        self._first: set[str] = set()
        self._ttft: list[float] = []
        self._routed = [0] * workers

    def _at(self, when: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (when, self._order, action))

    def run(self, prompts: Sequence[Prompt], *, concurrency: int) -> Outcome:
        """All prompts, `concurrency` at a time, to their end: a closed loop."""
        self._prompts.extend(prompts)
        for _ in range(concurrency):
            self._next()
        return self._play()

    def replay(self, arrivals: Iterable[tuple[float, Prompt]]) -> Outcome:
        """Each prompt at its time in seconds, whatever the load: an open loop."""
        for when, prompt in arrivals:
            self._at(self.now + when, partial(self._send, prompt))
        return self._play()

    def _play(self) -> Outcome:
        began = self.now
        self._at(self.now + self._interval, self._report)
        while self._queue:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        rates = self.router.rates
        return Outcome(
            predicted=rates.predicted.ratio_of_sums or 0.0,
            actual=rates.actual.ratio_of_sums or 0.0,
            avoidable_share=rates.avoidable_share or 0.0,
            ttft=self._ttft,
            elapsed=self.now - began,
            per_worker=self._routed,
        )

    def _next(self) -> None:
        if self._prompts:
            self._send(self._prompts.popleft())

    def _send(self, prompt: Prompt) -> None:
        request_id = f"{len(self._started)}"
        decision = self.router.find_best(prompt.tokens, request_id=request_id)
        self.router.routed(decision)
        number = decision.worker.instance
        self._routed[number] += 1
        self._started[request_id] = self.now
        self.cores[number].request(request_id, prompt.tokens, max_tokens=prompt.output_tokens)
        if not self._stepping[number]:
            # Once everything due at this instant has arrived: requests that come together are batched together.
            self._stepping[number] = True
            self._at(self.now, lambda: self._step(number))

    def _step(self, number: int) -> None:
        seconds = self.cores[number].schedule()
        if seconds:
            self._at(self.now + seconds, lambda: self._complete(number))
        else:
            self._stepping[number] = False

    def _complete(self, number: int) -> None:
        router, core, mirror = self.router, self.cores[number], self._mirrors[number]
        ended = 0
        done = core.complete()
        changes = [change for event in core.take_events() if (change := mirror.apply(event)) is not None]
        if changes:
            self._at(self.now + self._lag, lambda: [router.apply(number, change) for change in changes])
        for generated in done:
            request: SimRequest = generated.request
            if request.id not in self._first:
                self._first.add(request.id)
                self._ttft.append(self.now - self._started[request.id])
                router.first_token(request.id, request.prompt_cached)
            router.progress(request.id, len(request.tokens) - request.prompt_tokens)
            if generated.finish is not None:
                router.finished(request.id)
                ended += 1
        for _ in range(ended):
            self._next()
        self._step(number)

    def _report(self) -> None:
        for number, core in enumerate(self.cores):
            load = core.load()
            load.total_blocks = round(load.total_blocks * (self._told_capacity or 0))
            self.router.report(Worker(number), load)
        if self._queue:
            self._at(self.now + self._interval, self._report)
