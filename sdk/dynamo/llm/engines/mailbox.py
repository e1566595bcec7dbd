"""Deltas on their way from an engine's step loop to one request's stream."""

from __future__ import annotations

import asyncio

from dynamo.llm.engines.base import EngineOutput


class Mailbox:
    """One writer (the step loop), one reader (the stream). Tokens that pile up come out as one delta."""

    __slots__ = ("_error", "_output", "_waiter")

    def __init__(self) -> None:
        self._output: EngineOutput | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    def put(self, output: EngineOutput) -> None:
        last = self._output
        if last is None:
            self._output = output
        else:
            last.token_ids.extend(output.token_ids)
            if output.finish_reason is not None:
                last.finish_reason = output.finish_reason
        self._wake()

    def fail(self, error: Exception) -> None:
        """Raise `error` in the reader, after what is already here."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> EngineOutput:
        """The next delta; waits for it (the owner of the stream cancels)."""
        while self._output is None:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        output, self._output = self._output, None
        return output
