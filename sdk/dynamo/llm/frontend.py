"""The OpenAI face: an ASGI application over whatever models are served.

Routes: `/v1/models`, `/v1/models/{id}`, `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/health`.
A service's `app`, mounted in another application, or run alone. It parses, plans, streams and accounts; models come
and go in the `ModelDirectory` behind it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from dynamo.llm.answers import ChatGeneration, Generation, TextGeneration
from dynamo.llm.embeddings import encode_embeddings
from dynamo.llm.engines.base import EngineOutput, ModelCard
from dynamo.llm.errors import Busy, LlmError, UnknownModel
from dynamo.llm.guided import forced_tool, must_call_tool
from dynamo.llm.http import (
    Answer,
    BodyTooLarge,
    ClientGone,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    run_lifespan,
    while_connected,
)
from dynamo.llm.openai import responses as out
from dynamo.llm.openai.errors import from_exception, plain
from dynamo.llm.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest, decode
from dynamo.llm.openai.sse import error_event
from dynamo.llm.pipeline import EmbedOutput, Planned
from dynamo.llm.serving_metrics import ModelMetrics, requests_in_flight
from dynamo.llm.tokenizer import Tokenizer
from dynamo.llm.tools import CallList, ForcedCall, HermesCalls
from dynamo.runtime.context import current_request
from dynamo.runtime.metrics import Registry, default_registry

logger = logging.getLogger(__name__)

MAX_BODY = 32 << 20
"""Bytes of a request's body."""

Made = TypeVar("Made", ChatGeneration, TextGeneration)


class ServedModel(Protocol):
    """One model as the frontend needs it."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    async def plan(self, request: ChatRequest | CompletionRequest, request_id: str) -> list[Planned]: ...

    def run(self, planned: Planned) -> AsyncIterator[EngineOutput]: ...

    def abandon(self, planned: Planned) -> None:
        """A plan that will not be run: its worker was counted as busy with it."""
        ...

    async def embed(self, request: EmbeddingRequest, request_id: str) -> tuple[EmbedOutput, int]:
        """The vectors, and the prompt tokens they took."""
        ...


class ModelDirectory(Protocol):
    """Which models are served now. `since` is when each appeared, in seconds since the epoch."""

    def names(self) -> dict[str, int]: ...

    async def get(self, name: str) -> ServedModel:
        """Raises UnknownModel for a name that nobody serves."""
        ...


class NoModels:
    """The directory of a frontend that has not been told of its models."""

    def names(self) -> dict[str, int]:
        return {}

    async def get(self, name: str) -> ServedModel:
        raise UnknownModel(name, [])


class _Route(NamedTuple):
    """What HTTP metrics of the replica are labelled by."""

    path: str


class OpenAIFrontend:
    """An ASGI application. `max_concurrent` requests are served at once; more are told to come back.

    Where models are known only once a replica has started, make it without any and call `serve` then.
    """

    def __init__(
        self,
        models: ModelDirectory | None = None,
        *,
        registry: Registry | None = None,
        max_concurrent: int = 8192,
        max_body: int = MAX_BODY,
    ) -> None:
        self._max_body = max_body
        self._running = 0
        self.serve(models or NoModels(), registry=registry, max_concurrent=max_concurrent)
        self._posts: dict[str, Callable[[bytes, Answer, str], Awaitable[None]]] = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completion,
            "/v1/embeddings": self._embeddings,
        }

    def serve(self, models: ModelDirectory, *, registry: Registry | None = None, max_concurrent: int = 8192) -> None:
        """Answer for these models from now on, and count in that registry."""
        self._models = models
        self._registry = registry or default_registry()
        self._in_flight = requests_in_flight(self._registry)
        self._model_metrics: dict[str, ModelMetrics] = {}
        self._max_concurrent = max_concurrent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the OpenAI frontend speaks HTTP, not {scope['type']}")
        method, path = scope["method"], scope["path"]
        if path in self._posts or path in ("/v1/models", "/health"):
            scope["route"] = _Route(path)
        serving = current_request()
        if serving is not None:  # inside a replica, which names requests itself and tells the client
            request_id, answer = serving.id, Answer(send)
        else:
            request_id = header(scope, b"x-request-id") or uuid.uuid4().hex
            answer = Answer(send, [(b"x-request-id", request_id.encode("latin-1", "replace"))])
        try:
            if path in self._posts:
                if method != "POST":
                    await answer.error(plain(405, f"{path} takes POST, not {method}."))
                    return
                await self._serve(scope, receive, answer, request_id)
            elif method in ("GET", "HEAD"):
                await self._look(path, answer)
            else:
                await answer.error(plain(404, f"There is nothing at {method} {path}."))
        except ClientGone:
            logger.debug("request %s: the client left", request_id)

    async def _serve(self, scope: Scope, receive: Receive, answer: Answer, request_id: str) -> None:
        self._running += 1
        self._in_flight.set(self._running)
        try:
            if self._running > self._max_concurrent:
                raise Busy(f"This server answers {self._max_concurrent} requests at once; please try again shortly.")
            body = await read_body(receive, self._max_body)
            async with while_connected(receive):
                await self._posts[scope["path"]](body, answer, request_id)
        except ClientGone:
            raise
        except BodyTooLarge as error:
            await answer.error(plain(413, str(error)))
        except Exception as error:
            if not isinstance(error, LlmError):
                logger.exception("request %s failed", request_id)
            shown = from_exception(error)
            if answer.started:
                await answer.end(error_event(shown))
            else:
                await answer.error(shown)
        finally:
            self._running -= 1
            self._in_flight.set(self._running)

    async def _look(self, path: str, answer: Answer) -> None:
        names = self._models.names()
        if path == "/health":
            state = {"status": "healthy" if names else "no models", "models": sorted(names)}
            await answer.json(msgspec.json.encode(state), 200 if names else 503)
        elif path == "/v1/models":
            models = [await self._model(name, since) for name, since in sorted(names.items())]
            await answer.json(msgspec.json.encode(out.ModelList(data=models)))
        elif path.startswith("/v1/models/") and (name := path.removeprefix("/v1/models/")) in names:
            await answer.json(msgspec.json.encode(await self._model(name, names[name])))
        elif path.startswith("/v1/models/"):
            unknown = UnknownModel(path.removeprefix("/v1/models/"), list(names))
            await answer.error(from_exception(unknown))
        else:
            await answer.error(plain(404, f"There is nothing at {path}."))

    async def _model(self, name: str, since: int) -> out.Model:
        card = (await self._models.get(name)).card
        parent = card.name if name in card.loras else None
        return out.Model(id=name, created=since, max_model_len=card.context_length or None, parent=parent)

    def _metrics_of(self, model: str) -> ModelMetrics:
        found = self._model_metrics.get(model)
        if found is None:
            found = self._model_metrics[model] = ModelMetrics(self._registry, model)
        return found

    async def _chat(self, body: bytes, answer: Answer, request_id: str) -> None:
        request = decode(body, ChatRequest)
        generation = await self._begin(ChatGeneration, request, request_id, f"chatcmpl-{request_id}")
        if request.tools and request.tool_choice != "none":
            forced = forced_tool(request)
            if forced is not None:
                generation.tool_parser = partial(ForcedCall, forced.function.name)
            elif must_call_tool(request):
                generation.tool_parser = CallList
            else:
                generation.tool_parser = HermesCalls
        await self._answer(generation, bool(request.stream), answer)

    async def _completion(self, body: bytes, answer: Answer, request_id: str) -> None:
        request = decode(body, CompletionRequest)
        generation = await self._begin(TextGeneration, request, request_id, f"cmpl-{request_id}")
        await self._answer(generation, bool(request.stream), answer)

    async def _begin(
        self, kind: Callable[..., Made], request: ChatRequest | CompletionRequest, request_id: str, answer_id: str
    ) -> Made:
        """Plan a request; `kind` is the `Generation` that will answer it."""
        arrived = time.perf_counter()
        model = await self._models.get(request.model)
        return kind(
            request=request,
            planned=await model.plan(request, request_id),
            run=model.run,
            abandon=model.abandon,
            tokenizer=model.tokenizer,
            metrics=self._metrics_of(request.model),
            request_id=answer_id,
            end_ids=frozenset(model.card.eos_token_ids),
            arrived=arrived,
        )

    async def _answer(
        self, generation: Generation[ChatRequest] | Generation[CompletionRequest], stream: bool, answer: Answer
    ) -> None:
        try:
            if stream:
                await generation.stream(answer)
            else:
                await answer.json(await generation.whole())
        finally:
            generation.close()

    async def _embeddings(self, body: bytes, answer: Answer, request_id: str) -> None:
        request = decode(body, EmbeddingRequest)
        model = await self._models.get(request.model)
        vectors, tokens = await model.embed(request, request_id)
        self._metrics_of(request.model).prompt_tokens.inc(tokens)
        await answer.json(encode_embeddings(request, vectors, tokens))
