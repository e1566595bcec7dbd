"""From a planned request to the worker's deltas: one stream, straight from the worker, retried while unbegun."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from dynamo.llm.engines.base import EngineOutput, TokenLogprob
from dynamo.llm.errors import Busy, GenerationFailed, LlmError, NoWorkers, RequestError
from dynamo.llm.pipeline import Planned, Planner
from dynamo.runtime import errors as runtime_errors

if TYPE_CHECKING:
    from dynamo.runtime.client import Client
    from dynamo.runtime.response import ResponseStream

PROGRESS_TOKENS = 128
"""Generated tokens between two reports of a request's growth."""

MAX_ATTEMPTS = 4
"""Workers tried for one request before its first token."""

_ELSEWHERE = (runtime_errors.InstanceLost, runtime_errors.InstanceUnavailable, runtime_errors.Overloaded)


class Dispatcher:
    """Streams planned requests of one model. `client` is that of the workers' `generate` endpoint."""

    def __init__(self, client: Client, planner: Planner) -> None:
        self._client = client
        self._planner = planner

    async def run(self, planned: Planned) -> AsyncIterator[EngineOutput]:
        """The deltas of one request, several that have arrived together merged into one.

        A worker that is lost before its first delta is replaced by another; after that the stream ends
        with an error, since tokens cannot be taken back.

        Raises:
            RequestError: the engine refuses the request.
            Busy, NoWorkers: nobody can take it.
            GenerationFailed: the worker or its engine failed.
        """
        tried: list[int] = []
        begun = False
        request_id = planned.request.request_id
        generated, told = 0, PROGRESS_TOKENS
        try:
            while True:
                stream = None
                try:
                    stream = await self._open(planned)
                    while items := await stream.batch():
                        output = merge(items)
                        if not begun:
                            begun = True
                            self._planner.first_token(request_id, output.cached_tokens)
                        yield output
                        generated += len(output.token_ids)
                        if generated >= told:
                            told = generated + PROGRESS_TOKENS
                            self._planner.progressed(request_id, generated)
                        if output.finish_reason is not None:
                            return
                    raise GenerationFailed("The worker ended the answer without a finish.", begun=begun)
                except _ELSEWHERE as error:
                    lost = error.instance or planned.instance_id or 0
                    if begun:
                        raise GenerationFailed(
                            f"The worker {lost:x} went away in the middle of the answer; please ask again.",
                            begun=True,
                        ) from None
                    tried.append(lost)
                    if len(tried) >= MAX_ATTEMPTS:
                        raise translate(error) from None
                    planned = await self._planner.again(planned, frozenset(tried))
                except runtime_errors.RequestError as error:
                    raise translate(error, begun=begun) from None
                finally:
                    if stream is not None:
                        stream.cancel()
        finally:
            self._planner.done(request_id)

    async def _open(self, planned: Planned) -> ResponseStream:
        if planned.instance_id is None:
            return await self._client.round_robin(planned.request)
        return await self._client.direct(planned.request, planned.instance_id)


def merge(items: list[Any]) -> EngineOutput:
    """Deltas of one request, as msgpack gives them, as one."""
    if len(items) == 1:
        return msgspec.convert(items[0], EngineOutput)
    outputs = [msgspec.convert(item, EngineOutput) for item in items]
    first, last = outputs[0], outputs[-1]
    logprobs: list[TokenLogprob] | None = None
    if any(output.logprobs is not None for output in outputs):
        logprobs = [entry for output in outputs for entry in output.logprobs or ()]
    return EngineOutput(
        token_ids=[token for output in outputs for token in output.token_ids],
        finish_reason=last.finish_reason,
        stop_reason=last.stop_reason,
        cached_tokens=first.cached_tokens,
        prompt_tokens=first.prompt_tokens,
        logprobs=logprobs,
        error=last.error,
    )


def translate(error: runtime_errors.RequestError, *, begun: bool = False) -> LlmError:
    """A runtime error in the terms of this package."""
    if isinstance(error, runtime_errors.EndpointError):
        return _from_endpoint(error, begun=begun)
    if isinstance(error, runtime_errors.Overloaded):
        return Busy("All workers are full; please try again shortly.")
    if isinstance(error, runtime_errors.NoInstances | runtime_errors.InstanceUnavailable):
        return NoWorkers("No worker of this model can be reached; one may be starting.")
    if isinstance(error, runtime_errors.InvalidPayload):
        return RequestError(f"The worker refuses the request: {error.message}")
    return GenerationFailed(f"The worker failed: {error.message}", begun=begun)


def _from_endpoint(error: runtime_errors.EndpointError, *, begun: bool) -> LlmError:
    """Errors that an engine or a router raised in another process."""
    kind, message = error.error_type, error.message
    if kind == "InvalidRequest":
        field, _, reason = message.partition(": ")
        return RequestError(f"The engine refuses {field}: {reason}", param=field)
    if kind in ("Busy", "AllWorkersBusy"):
        return Busy("All workers are full; please try again shortly.")
    if kind in ("NoWorkers", "NoCandidates"):
        return NoWorkers("No worker of this model can be reached; one may be starting.")
    return GenerationFailed(f"{kind}: {message}", begun=begun)


class Refusal(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why a request is not served, on its way between processes: a `RequestError`, or nobody who can take it now."""

    message: str
    param: str | None = None
    code: str | None = None
    status: int = 400
    retry_after: float | None = None


def refusal_of(error: RequestError | Busy | NoWorkers) -> Refusal:
    if isinstance(error, RequestError):
        return Refusal(message=error.message, param=error.param, code=error.code, status=error.status)
    return Refusal(message=str(error), status=error.status, retry_after=error.retry_after)


def refused(refusal: Refusal) -> RequestError | Busy | NoWorkers:
    for kind in (Busy, NoWorkers):
        if refusal.status == kind.status and refusal.retry_after is not None:
            return kind(refusal.message, retry_after=refusal.retry_after)
    error = RequestError(refusal.message, param=refusal.param, code=refusal.code)
    error.status = refusal.status
    return error
