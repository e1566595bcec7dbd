"""Models by name, as discovery has them, with their tokenizers loaded once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dynamo.llm.chat_template import ChatTemplate
from dynamo.llm.dispatch import Dispatcher, translate
from dynamo.llm.engines.base import EngineOutput, ModelCard
from dynamo.llm.errors import NoWorkers, RequestError, UnknownModel
from dynamo.llm.model_transfer import directory_of
from dynamo.llm.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from dynamo.llm.pipeline import EmbedOutput, EmbedRequest, Planned, Planner
from dynamo.llm.planning import apart_if_long, characters
from dynamo.llm.preprocessor import Preprocessor
from dynamo.llm.registration import ModelSet
from dynamo.llm.tokenizer import Tokenizer
from dynamo.runtime.errors import RequestError as RuntimeRequestError

if TYPE_CHECKING:
    from dynamo.runtime import DistributedRuntime
    from dynamo.runtime.client import Client

logger = logging.getLogger(__name__)

EMBED_ENDPOINT = "embed"


class LoadedModel:
    """A card with its tokenizer and chat template."""

    def __init__(self, card: ModelCard, directory: Path) -> None:
        """Read the model directory, as this process sees it: tens to hundreds of milliseconds.

        Raises:
            ModelError: the directory cannot be served.
        """
        self.card = card
        self.tokenizer = Tokenizer(directory)
        if not card.eos_token_ids:
            card.eos_token_ids = self.tokenizer.eos_token_ids
        self.preprocessor = Preprocessor(
            card, self.tokenizer, ChatTemplate.load(directory, self.tokenizer.special_tokens)
        )


class Catalogue:
    """Loads models as they appear, so that no request waits for it, and forgets those that nobody serves any more."""

    def __init__(self, runtime: DistributedRuntime) -> None:
        self._runtime = runtime
        self.set = ModelSet(runtime, self._changed)
        self._loaded: dict[str, asyncio.Task[LoadedModel]] = {}

    async def start(self) -> None:
        await self.set.start()

    def _changed(self, name: str) -> None:
        card = self.set.card(name)
        loaded = self._loaded.get(name)
        if card is None or (loaded is not None and loaded.done() and _differs(loaded, card)):
            self._loaded.pop(name, None)
        if card is not None:
            self._loading(card)

    async def load(self, name: str) -> LoadedModel:
        """The model that serves a name (its own, or that of one of its adapters).

        Raises:
            UnknownModel: nobody serves it.
            ModelError: its files cannot be used.
            NoWorkers: its workers left a short while ago, or its files are not here, and no worker gives them.
        """
        card = self.set.card(name)
        if card is None:
            if self.set.away(name):
                raise NoWorkers(f"No worker of the model '{name}' is there at the moment; one may be starting.")
            raise UnknownModel(name, list(self.set.names()))
        task = self._loading(card)
        if task.done():
            return task.result()
        return await asyncio.shield(task)

    def _loading(self, card: ModelCard) -> asyncio.Task[LoadedModel]:
        """The load of a model, begun anew where it has failed before."""
        task = self._loaded.get(card.name)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self._load(card), name=f"load {card.name}")
            task.add_done_callback(_notice)
            self._loaded[card.name] = task
        return task

    async def _load(self, card: ModelCard) -> LoadedModel:
        directory = await directory_of(self._runtime, card)
        return await asyncio.to_thread(LoadedModel, card, directory)


def _notice(task: asyncio.Task[LoadedModel]) -> None:
    """Requests for a model that cannot be loaded fail with the reason; the log has it before there are any."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("%s: %s", task.get_name(), error)


_SERVED_AS = ("namespace", "component", "endpoint", "context_length", "kinds", "loras", "extra")
"""Fields of a card that decide what is asked of its workers. Paths may differ from host to host."""


def _differs(loaded: asyncio.Task[LoadedModel], card: ModelCard) -> bool:
    if loaded.cancelled() or loaded.exception() is not None:
        return True
    known = loaded.result().card
    moved = known.files != card.files if card.files else known.model_path != card.model_path
    return moved or any(getattr(known, field) != getattr(card, field) for field in _SERVED_AS)


class DiscoveredModel:
    """One model behind a frontend: planned by `planner`, run by its workers."""

    def __init__(self, runtime: DistributedRuntime, loaded: LoadedModel, planner: Planner) -> None:
        self.card = loaded.card
        self.tokenizer = loaded.tokenizer
        self._preprocessor = loaded.preprocessor
        self._component = runtime.namespace(self.card.namespace).component(self.card.component)
        self.client: Client = self._component.endpoint(self.card.endpoint).client()
        self._embedding: Client | None = None
        self._planner = planner
        self._dispatcher = Dispatcher(self.client, planner)

    async def plan(self, request: ChatRequest | CompletionRequest, request_id: str) -> list[Planned]:
        kind = "chat" if isinstance(request, ChatRequest) else "completions"
        if kind not in self.card.kinds:
            raise RequestError(
                f"The model '{self.card.name}' serves {' and '.join(self.card.kinds)}, not {kind}.", param="model"
            )
        try:
            return await self._planner.plan(request, request_id)
        except RuntimeRequestError as error:
            raise translate(error) from None

    def run(self, planned: Planned) -> AsyncIterator[EngineOutput]:
        return self._dispatcher.run(planned)

    def abandon(self, planned: Planned) -> None:
        self._planner.done(planned.request.request_id)

    async def embed(self, request: EmbeddingRequest, request_id: str) -> tuple[EmbedOutput, int]:
        """The vectors, and the prompt tokens they took.

        Raises:
            RequestError: the model's engine has no embeddings.
        """
        if "embeddings" not in self.card.kinds:
            raise RequestError(f"The model '{self.card.name}' does not serve embeddings.", param="model")
        if self._embedding is None:
            self._embedding = self._component.endpoint(EMBED_ENDPOINT).client()
        inputs = await apart_if_long(characters(request), self._preprocessor.embedding, request)
        call = EmbedRequest(request_id=request_id, model=self.card.name, inputs=inputs, dimensions=request.dimensions)
        try:
            answer = await (await self._embedding.round_robin(call)).one()
        except RuntimeRequestError as error:
            raise translate(error) from None
        return msgspec.convert(answer, EmbedOutput), sum(map(len, inputs))


class DiscoveredModels:
    """The frontend's `ModelDirectory` over discovery. `planner_for` is asked once for each model."""

    def __init__(self, runtime: DistributedRuntime, planner_for: Callable[[LoadedModel], Planner]) -> None:
        self._runtime = runtime
        self._planner_for = planner_for
        self.catalogue = Catalogue(runtime)
        self._models: dict[str, DiscoveredModel] = {}

    async def start(self) -> None:
        """Returns once the models that are there are known."""
        await self.catalogue.start()

    def names(self) -> dict[str, int]:
        return self.catalogue.set.names()

    async def get(self, name: str) -> DiscoveredModel:
        loaded = await self.catalogue.load(name)
        model = self._models.get(loaded.card.name)
        if model is None or model.tokenizer is not loaded.tokenizer:
            model = DiscoveredModel(self._runtime, loaded, self._planner_for(loaded))
            self._models[loaded.card.name] = model
        return model
