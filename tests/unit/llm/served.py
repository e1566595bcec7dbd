"""A frontend on a real socket, over models whose engine is a script: what HTTP clients see, and nothing else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn

from dynamo.llm.engines.base import EngineOutput, ModelCard
from dynamo.llm.errors import RequestError, UnknownModel
from dynamo.llm.frontend import OpenAIFrontend
from dynamo.llm.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from dynamo.llm.pipeline import EmbedOutput, Planned
from dynamo.llm.preprocessor import Preprocessor
from dynamo.llm.tokenizer import Tokenizer
from dynamo.runtime.metrics import Registry

Script = Callable[[Planned], AsyncIterator[EngineOutput]]


class ScriptedModel:
    """Plans as the real one does; what it generates is up to `script`."""

    def __init__(self, preprocessor: Preprocessor, script: Script) -> None:
        self.preprocessor = preprocessor
        self.script = script
        self.running = 0
        self.seen: list[Planned] = []
        self.abandoned: list[str] = []

    @property
    def card(self) -> ModelCard:
        return self.preprocessor.card

    @property
    def tokenizer(self) -> Tokenizer:
        return self.preprocessor.tokenizer

    async def plan(self, request: ChatRequest | CompletionRequest, request_id: str) -> list[Planned]:
        if isinstance(request, ChatRequest):
            requests = self.preprocessor.chat(request, request_id)
        else:
            requests = self.preprocessor.completion(request, request_id)
        return [Planned(request=item) for item in requests]

    async def run(self, planned: Planned) -> AsyncIterator[EngineOutput]:
        self.seen.append(planned)
        self.running += 1
        try:
            async for output in self.script(planned):
                yield output
        finally:
            self.running -= 1

    def abandon(self, planned: Planned) -> None:
        self.abandoned.append(planned.request.request_id)

    async def embed(self, request: EmbeddingRequest, request_id: str) -> tuple[EmbedOutput, int]:
        if "embeddings" not in self.card.kinds:
            raise RequestError("no embeddings", param="model")
        inputs = self.preprocessor.embedding(request)
        return EmbedOutput(embeddings=[[float(len(ids)), 0.5] for ids in inputs]), sum(map(len, inputs))


class Models:
    def __init__(self, **models: ScriptedModel) -> None:
        self.models = models

    def names(self) -> dict[str, int]:
        return dict.fromkeys(self.models, 1_700_000_000)

    async def get(self, name: str) -> ScriptedModel:
        if name not in self.models:
            raise UnknownModel(name, list(self.models))
        return self.models[name]


@asynccontextmanager
async def serving(models: Models, registry: Registry | None = None, **options: int) -> AsyncIterator[str]:
    """The base URL of a frontend that serves these models."""
    app = OpenAIFrontend(models, registry=registry or Registry(), **options)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    port = listener.getsockname()[1]
    config = uvicorn.Config(app, lifespan="on", log_level="warning", ws="none", http="httptools", loop="asyncio")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        async with asyncio.timeout(10):
            await task
        listener.close()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
