"""The way of a request: plan it (tokenise, choose a worker), then stream it from that worker.

A stream crosses one process boundary: the HTTP process talks to the chosen worker directly. Planning may
happen in the same process or in Processor replicas (`RemotePlanner`), whose answer carries ids and worker.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from dynamo.llm.engines.base import EngineRequest
from dynamo.llm.openai.requests import ChatRequest, CompletionRequest


class Planned(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One engine request and where it goes. `instance_id` None lets the caller choose."""

    request: EngineRequest
    instance_id: int | None = None
    overrides: dict[str, Any] | None = None  # the request's own router options, for another try


class Planner(Protocol):
    """Turns a checked OpenAI request into engine requests with their workers."""

    async def plan(self, request: ChatRequest | CompletionRequest, request_id: str) -> list[Planned]:
        """One entry per choice.

        Raises:
            RequestError: the request cannot be served as it is.
            Busy, NoWorkers: no worker can take it now.
        """
        ...

    async def again(self, planned: Planned, without: frozenset[int]) -> Planned:
        """The same request on a worker outside `without`, after the first choice was lost before it began."""
        ...

    def first_token(self, request_id: str, cached_tokens: int | None) -> None:
        """The prompt is computed: its prefill no longer weighs on the worker."""
        ...

    def progressed(self, request_id: str, generated_tokens: int) -> None:
        """So many tokens have been generated: the request holds more blocks than it did. Told now and then."""
        ...

    def done(self, request_id: str) -> None:
        """The request has left its worker, whatever the outcome."""
        ...


class EmbedRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Inputs as ids; `dimensions` None is the model's own."""

    request_id: str
    model: str
    inputs: list[list[int]]
    dimensions: int | None = None


class EmbedOutput(msgspec.Struct, kw_only=True):
    """One vector per input, in order."""

    embeddings: list[list[float]]


class Embedder(Protocol):
    async def embed(self, request: EmbedRequest) -> EmbedOutput: ...
