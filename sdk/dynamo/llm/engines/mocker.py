"""The simulated engine: everything a router and a frontend can see of a real one, without a model.

The cache, its events, batching, preemption and load figures are computed, not invented (`mocker_core`); the
time a step takes comes from a roofline (`mocker_timing`); the tokens come from a generator seeded by the prompt.
One timer a step serves all sequences, so that a frontend is measured and not its engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from dynamo.llm.engines.base import (
    EngineLoad,
    EngineOutput,
    EngineRequest,
    InvalidRequest,
    KvEvent,
    KvListener,
    ModelCard,
    Progress,
)
from dynamo.llm.engines.mailbox import Mailbox
from dynamo.llm.engines.mocker_core import MockerCore, MockerOptions, SimRequest
from dynamo.llm.errors import ServingError

SHORTEST_SLEEP = 50e-6
"""Seconds. A shorter step only yields to the event loop: no timer is that fine."""


class EngineStopped(ServingError):
    """The engine was stopped while a request was running, or is not started."""


class Mocker:
    """`Engine` over `MockerCore`.

    Args:
        card: what the engine serves; block size, context length, vocabulary size and kind are filled in here.
        vocabulary: the token ids that it generates, e.g. those that decode to words; all by default.
    """

    def __init__(self, card: ModelCard, options: MockerOptions, *, vocabulary: Sequence[int] | None = None) -> None:
        self._core = MockerCore(options, vocabulary)
        self._options = options
        self._card = card
        card.block_size = options.block_size
        card.context_length = options.max_model_len
        card.vocab_size = options.vocab_size
        card.engine = "mocker"
        card.simulated = True
        self._listeners: list[KvListener] = []
        self._boxes: dict[SimRequest, Mailbox] = {}
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    @property
    def card(self) -> ModelCard:
        return self._card

    async def start(self, progress: Progress) -> None:
        progress("simulated engine ready")
        self._loop = asyncio.create_task(self._serve(), name="mocker steps")

    async def healthy(self) -> bool:
        return self._loop is not None and not self._loop.done()

    def load(self) -> EngineLoad:
        return self._core.load()

    def listen(self, listener: KvListener) -> None:
        self._listeners.append(listener)

    async def clear_cache(self) -> None:
        """Forget cached blocks once no request uses any."""
        while not self._core.pool.clear():
            self._idle.clear()
            await self._idle.wait()
        self._tell()

    async def stop(self, grace: float = 0.0) -> None:
        loop = self._loop
        if loop is None:
            return
        if grace > 0 and not self._core.idle:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    while not self._core.idle:
                        self._idle.clear()
                        await self._idle.wait()
        self._loop = None
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
        for request, box in list(self._boxes.items()):
            self._core.abort(request)
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

    async def _stream(self, request: EngineRequest) -> AsyncIterator[EngineOutput]:
        if self._loop is None:
            raise EngineStopped("the engine is not running")
        eos = self._card.eos_token_ids
        sim = self._core.request(
            request.request_id,
            request.token_ids,
            max_tokens=request.stop.max_tokens,
            eos=eos[0] if eos and not request.stop.ignore_eos else None,
            stop_ids=request.stop.stop_token_ids,
            seed=request.sampling.seed,
            lora=request.lora,
            salt=request.salt,
        )
        box = self._boxes[sim] = Mailbox()
        self._work.set()
        try:
            while True:
                output = await box.take()
                yield output
                if output.finish_reason is not None:
                    return
        finally:
            self._core.abort(sim)
            self._boxes.pop(sim, None)

    async def _serve(self) -> None:
        try:
            await self._run()
        except Exception as error:
            for box in self._boxes.values():
                box.fail(error)
            raise

    async def _run(self) -> None:
        core, boxes = self._core, self._boxes
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            seconds = core.schedule()
            self._tell()
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
            for generated in core.complete():
                request = generated.request
                output = EngineOutput(token_ids=[generated.token], finish_reason=generated.finish)
                if len(request.tokens) == request.prompt_tokens + 1:
                    output.cached_tokens = request.prompt_cached
                    output.prompt_tokens = request.prompt_tokens
                if generated.finish == "stop":
                    output.stop_reason = generated.token
                boxes[request].put(output)

    def _tell(self) -> None:
        events: list[KvEvent] = self._core.take_events()
        if events:
            for listener in self._listeners:
                listener(events)
