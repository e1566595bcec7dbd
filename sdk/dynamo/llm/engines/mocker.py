"""The simulated engine: everything a router and a frontend can see of a real one, without a model.

The cache, its events, batching, preemption and load figures are computed, not invented (`mocker_core`); the
time a step takes comes from a roofline (`mocker_timing`); the tokens come from a generator seeded by the prompt.
One timer a step serves all sequences of a rank, so that a frontend is measured and not its engine.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from itertools import islice

from dynamo.llm.engines.base import (
    EngineLoad,
    EngineOutput,
    EngineRequest,
    InvalidRequest,
    KvEvent,
    KvListener,
    ModelCard,
    Progress,
    TokenLogprob,
    combined,
)
from dynamo.llm.engines.mailbox import Mailbox
from dynamo.llm.engines.mocker_core import MockerCore, MockerOptions, SimRequest
from dynamo.llm.errors import ServingError

SHORTEST_SLEEP = 50e-6
"""Seconds. A shorter step only yields to the event loop: no timer is that fine."""


class EngineStopped(ServingError):
    """The engine was stopped while a request was running, or is not started."""


class _Rank:
    """One data-parallel rank: a core with a cache and a batch of its own, and the task that steps it."""

    def __init__(self, core: MockerCore, tell: Callable[[list[KvEvent]], None]) -> None:
        self.core = core
        self.boxes: dict[SimRequest, Mailbox] = {}
        self._tell = tell
        self._work = asyncio.Event()
        self._idle = asyncio.Event()

    @property
    def requests(self) -> int:
        """Running and waiting ones."""
        return len(self.core.running) + len(self.core.waiting)

    def enter(self, request: SimRequest) -> Mailbox:
        """Step on until this request, too, is done; its deltas come out of the mailbox."""
        box = self.boxes[request] = Mailbox()
        self._work.set()
        return box

    def leave(self, request: SimRequest) -> None:
        """Nobody waits for this request any more."""
        self.core.abort(request)
        self.boxes.pop(request, None)

    async def until_idle(self) -> None:
        while not self.core.idle:
            await self._next_pause()

    async def clear_cache(self) -> None:
        """Forget cached blocks once no request uses any."""
        while not self.core.pool.clear():
            await self._next_pause()
        self._publish()

    async def _next_pause(self) -> None:
        self._idle.clear()
        await self._idle.wait()

    async def serve(self) -> None:
        """Step until cancelled. What goes wrong is raised here and in every request's stream."""
        try:
            await self._run()
        except Exception as error:
            for box in self.boxes.values():
                box.fail(error)
            raise

    async def _run(self) -> None:
        core, boxes = self.core, self.boxes
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            seconds = core.schedule()
            if not seconds:
                self._idle.set()
                self._work.clear()
                await self._work.wait()
                due = clock()
                continue
            # Deadlines add up, so that the loop's lateness does not: a step that was late makes the next one short.
            due = max(due + seconds, clock() - seconds)
            delay = due - clock()
            await asyncio.sleep(delay if delay > SHORTEST_SLEEP else 0)
            done = core.complete()
            self._publish()  # as vLLM does: when a step is over, before its tokens go out
            for generated in done:
                request = generated.request
                output = EngineOutput(token_ids=[generated.token], finish_reason=generated.finish)
                if len(request.tokens) == request.prompt_tokens + 1:
                    output.cached_tokens = request.prompt_cached
                    output.prompt_tokens = request.prompt_tokens
                if generated.finish == "stop":
                    output.stop_reason = generated.token
                boxes[request].put(output)

    def _publish(self) -> None:
        if events := self.core.take_events():
            self._tell(events)


class Mocker:
    """`Engine` over a `MockerCore` for each data-parallel rank.

    A request that names no rank goes to the one with the fewest requests.

    Args:
        card: what the engine serves; block size, context length, vocabulary size and kind are filled in here.
        vocabulary: the token ids that it generates, e.g. those that decode to words; all by default.
    """

    def __init__(self, card: ModelCard, options: MockerOptions, *, vocabulary: Sequence[int] | None = None) -> None:
        self._ranks = [
            _Rank(MockerCore(options, vocabulary, dp_rank=number), self._tell)
            for number in range(options.data_parallel_size)
        ]
        self._vocabulary: Sequence[int] = vocabulary or range(options.vocab_size)
        self._each = -math.log(len(self._vocabulary))
        self._options = options
        self._card = card
        card.block_size = options.block_size
        card.context_length = options.max_model_len
        card.vocab_size = options.vocab_size
        card.data_parallel_size = options.data_parallel_size
        card.engine = "mocker"
        card.simulated = True
        self._listeners: list[KvListener] = []
        self._loops: list[asyncio.Task[None]] = []

    @property
    def card(self) -> ModelCard:
        return self._card

    async def start(self, progress: Progress) -> None:
        progress("simulated engine ready")
        self._loops = [asyncio.create_task(rank.serve(), name="mocker steps") for rank in self._ranks]

    async def healthy(self) -> bool:
        return bool(self._loops) and not any(loop.done() for loop in self._loops)

    def load(self) -> EngineLoad:
        return combined([rank.core.load() for rank in self._ranks])

    def listen(self, listener: KvListener) -> None:
        self._listeners.append(listener)

    async def clear_cache(self) -> None:
        """Forget cached blocks once no request uses any."""
        for rank in self._ranks:
            await rank.clear_cache()

    async def stop(self, grace: float = 0.0) -> None:
        if not self._loops:
            return
        if grace > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    for rank in self._ranks:
                        await rank.until_idle()
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.cancel()
        for loop in loops:
            with suppress(asyncio.CancelledError):
                await loop
        for rank in self._ranks:
            for request, box in list(rank.boxes.items()):
                rank.core.abort(request)
                box.fail(EngineStopped("the engine was stopped"))

    def generate(self, request: EngineRequest) -> AsyncIterator[EngineOutput]:
        """Raises InvalidRequest at once; the request enters the queue when the iteration starts."""
        self._validate(request)
        return self._stream(request)

    def _validate(self, request: EngineRequest) -> None:
        ids, options = request.token_ids, self._options
        if not ids:
            raise InvalidRequest("token_ids", "the prompt is empty")
        if min(ids) < 0 or max(ids) >= options.vocab_size:
            raise InvalidRequest("token_ids", f"ids must be in 0..{options.vocab_size - 1}")
        room = min(options.max_model_len, options.num_gpu_blocks * options.block_size)
        if len(ids) >= room:
            raise InvalidRequest("token_ids", f"the prompt has {len(ids)} tokens, at most {room - 1} fit")
        most = request.stop.max_tokens
        if most is not None and most < 1:
            raise InvalidRequest("max_tokens", f"must be at least 1, got {most}")
        wanted = options.default_output_tokens if most is None else most
        if len(ids) + min(wanted, options.max_model_len - len(ids)) > options.num_gpu_blocks * options.block_size:
            raise InvalidRequest("max_tokens", f"{len(ids)} + {wanted} tokens do not fit the cache of {room} tokens")
        if request.dp_rank is not None and not 0 <= request.dp_rank < len(self._ranks):
            raise InvalidRequest("dp_rank", f"must be in 0..{len(self._ranks) - 1}, got {request.dp_rank}")

    async def _stream(self, request: EngineRequest) -> AsyncIterator[EngineOutput]:
        if not self._loops:
            raise EngineStopped("the engine is not running")
        if request.dp_rank is None:
            rank = min(self._ranks, key=lambda rank: rank.requests)
        else:
            rank = self._ranks[request.dp_rank]
        eos = self._card.eos_token_ids
        sim = rank.core.request(
            request.request_id,
            request.token_ids,
            max_tokens=request.stop.max_tokens,
            eos=eos[0] if eos and not request.stop.ignore_eos else None,
            stop_ids=request.stop.stop_token_ids,
            seed=request.sampling.seed,
            lora=request.lora,
            salt=request.salt,
        )
        alternatives = request.sampling.logprobs
        box = rank.enter(sim)
        try:
            while True:
                output = await box.take()
                if alternatives is not None:
                    output.logprobs = [self._logprob(token, alternatives) for token in output.token_ids]
                yield output
                if output.finish_reason is not None:
                    return
        finally:
            rank.leave(sim)

    def _logprob(self, token: int, alternatives: int) -> TokenLogprob:
        """Each token of the vocabulary is as likely as any other: that is how they are drawn."""
        others = (other for other in self._vocabulary if other != token)
        ranked = [token, *islice(others, max(0, alternatives - 1))]
        return TokenLogprob(
            token_id=token, logprob=self._each, top=[(one, self._each) for one in ranked[:alternatives]]
        )

    def _tell(self, events: list[KvEvent]) -> None:
        for listener in self._listeners:
            listener(events)
