"""The engine that says the prompt back, a token at a time: to test everything around an engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from dynamo.llm.engines.base import (
    EngineLoad,
    EngineOutput,
    EngineRequest,
    InvalidRequest,
    KvListener,
    ModelCard,
    Progress,
    TokenLogprob,
)


class Echo:
    """`Engine` that generates the prompt's own tokens, one every `delay` seconds, up to `max_tokens`.

    It caches nothing, so it has no KV events to tell.
    """

    def __init__(self, card: ModelCard, *, delay: float = 0.0) -> None:
        self._card = card
        card.engine = "echo"
        card.simulated = True
        self._delay = delay
        self._running = 0
        self._started = False
        self._idle = asyncio.Event()

    @property
    def card(self) -> ModelCard:
        return self._card

    async def start(self, progress: Progress) -> None:
        progress("echo ready")
        self._started = True

    async def healthy(self) -> bool:
        return self._started

    def load(self) -> EngineLoad:
        return EngineLoad(running_requests=self._running)

    def listen(self, listener: KvListener) -> None:
        """Accepted and never called."""

    async def clear_cache(self) -> None:
        return

    async def stop(self, grace: float = 0.0) -> None:
        self._started = False
        if grace > 0 and self._running:
            self._idle.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._idle.wait()

    def generate(self, request: EngineRequest) -> AsyncIterator[EngineOutput]:
        if not request.token_ids:
            raise InvalidRequest("token_ids", "the prompt is empty")
        limit = self._card.context_length
        if limit and len(request.token_ids) >= limit:
            raise InvalidRequest(
                "token_ids", f"the prompt has {len(request.token_ids)} tokens, at most {limit - 1} fit"
            )
        return self._stream(request)

    async def _stream(self, request: EngineRequest) -> AsyncIterator[EngineOutput]:
        prompt, most = request.token_ids, request.stop.max_tokens
        said = prompt if most is None else prompt[:most]
        stops = frozenset(request.stop.stop_token_ids)
        self._running += 1
        try:
            for position, token in enumerate(said):
                await asyncio.sleep(self._delay)
                last = position == len(said) - 1
                output = EngineOutput(token_ids=[token])
                if request.sampling.logprobs is not None:
                    output.logprobs = [TokenLogprob(token_id=token, logprob=0.0, top=[(token, 0.0)])]  # it is certain
                if not position:
                    output.cached_tokens, output.prompt_tokens = 0, len(prompt)
                if token in stops:
                    output.finish_reason, output.stop_reason = "stop", token
                elif last:
                    output.finish_reason = "stop" if len(said) == len(prompt) else "length"
                yield output
                if output.finish_reason is not None:
                    return
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
