"""Models by discovery: published, listed, loaded, and gone with their worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dynamo.llm import registration
from dynamo.llm.engines.base import ModelCard
from dynamo.llm.errors import ModelError, NoWorkers, RequestError, UnknownModel
from dynamo.llm.models import Catalogue, DiscoveredModels
from dynamo.llm.openai.requests import ChatRequest
from dynamo.llm.planning import AnyWorker, LocalPlanner
from dynamo.llm.registration import ModelSet, ModelType, publish_model, register_llm
from dynamo.runtime.discovery.local import LocalDiscoveryServer
from tests.unit.llm.test_dispatch import cluster


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_registered_model_can_be_loaded_until_its_worker_leaves(tmp_path: Path, model_path: Path) -> None:
    async with cluster(tmp_path) as made:
        worker, frontend = await made.connect(), await made.connect()
        catalogue = Catalogue(frontend)
        await catalogue.start()
        with pytest.raises(UnknownModel, match="served here: none yet"):
            await catalogue.load("mine")
        endpoint = worker.namespace("n").component("c").endpoint("generate")
        await register_llm(ModelType.Backend, endpoint, str(model_path), "mine", kv_cache_block_size=32)
        assert await catalogue.set.wait_for("mine", 10)
        first, second = await asyncio.gather(catalogue.load("mine"), catalogue.load("mine"))
        assert first is second
        card = first.card
        assert (card.namespace, card.component, card.block_size, card.context_length) == ("n", "c", 32, 512)
        assert card.eos_token_ids == [1, 3]
        await worker.shutdown()
        await until(lambda: not catalogue.set.names())
        with pytest.raises(NoWorkers):
            await catalogue.load("mine")


async def test_adapters_are_names_of_their_own(tmp_path: Path, model_path: Path) -> None:
    async with cluster(tmp_path) as made:
        runtime = await made.connect()
        models = ModelSet(runtime)
        await models.start()
        await publish_model(runtime, ModelCard(name="base", model_path=str(model_path), loras=["base-fr"]))
        assert await models.wait_for("base-fr", 10)
        assert set(models.names()) == {"base", "base-fr"}
        found = models.card("base-fr")
        assert found is not None
        assert found.name == "base"


async def test_a_model_whose_last_worker_left_is_away_and_not_unknown(tmp_path: Path, model_path: Path) -> None:
    async with cluster(tmp_path) as made:
        runtime = await made.connect()
        catalogue = Catalogue(runtime)
        await catalogue.start()
        registration = await publish_model(runtime, ModelCard(name="m", model_path=str(model_path), loras=["m-fr"]))
        assert await catalogue.set.wait_for("m", 10)
        await registration.remove()
        await until(lambda: not catalogue.set.names())
        for name in ("m", "m-fr"):
            with pytest.raises(NoWorkers, match=f"No worker of the model '{name}' is there"):
                await catalogue.load(name)
        with pytest.raises(UnknownModel):
            await catalogue.load("other")


async def test_a_model_that_returns_with_another_adapter_is_read_anew(tmp_path: Path, model_path: Path) -> None:
    async with cluster(tmp_path) as made:
        runtime = await made.connect()
        catalogue = Catalogue(runtime)
        await catalogue.start()
        old = await publish_model(await made.connect(), ModelCard(name="m", model_path=str(model_path)))
        assert await catalogue.set.wait_for("m", 10)
        first = await catalogue.load("m")
        await publish_model(runtime, ModelCard(name="m", model_path=str(model_path), loras=["m-fr"]))
        await old.remove()
        await until(lambda: catalogue.set.card("m-fr") is not None)
        async with asyncio.timeout(10):
            while (loaded := await catalogue.load("m")) is first:
                await asyncio.sleep(0.01)
        assert loaded.card.loras == ["m-fr"]


async def test_a_model_serves_its_kinds_alone(tmp_path: Path, model_path: Path) -> None:
    async with cluster(tmp_path) as made:
        runtime = await made.connect()
        models = DiscoveredModels(runtime, lambda loaded: LocalPlanner(loaded.preprocessor, AnyWorker()))
        await models.start()
        await publish_model(runtime, ModelCard(name="vectors", model_path=str(model_path), kinds=["embeddings"]))
        assert await models.catalogue.set.wait_for("vectors", 10)
        model = await models.get("vectors")
        chat = msgspec.convert({"model": "vectors", "messages": [{"role": "user", "content": "hi"}]}, ChatRequest)
        with pytest.raises(RequestError, match="'vectors' serves embeddings, not chat"):
            await model.plan(chat, "r")


async def test_a_model_needs_its_directory(tmp_path: Path) -> None:
    async with cluster(tmp_path) as made:
        endpoint = (await made.connect()).namespace("n").component("c").endpoint("generate")
        with pytest.raises(ModelError, match="no such directory"):
            await register_llm(ModelType.Chat, endpoint, str(tmp_path / "nothing"))


async def test_models_outlive_the_memory_of_discovery_for_as_long_as_their_workers_take_to_register_again(
    tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "CONFIRM", 1.0)
    async with cluster(tmp_path) as made:
        staying, leaving, frontend = await made.connect(), await made.connect(), await made.connect()
        models = ModelSet(frontend)
        await models.start()
        await publish_model(staying, ModelCard(name="stays", model_path=str(model_path)))
        await publish_model(leaving, ModelCard(name="leaves", model_path=str(model_path)))
        await until(lambda: set(models.names()) == {"stays", "leaves"})
        lost: list[str] = []
        models._on_change = lambda name: lost.append(name) if name not in models.names() else None
        await made.server.stop()
        await leaving.shutdown()
        assert set(models.names()) == {"stays", "leaves"}
        made.server = LocalDiscoveryServer(tmp_path / "d.sock")
        await made.server.start()
        await until(lambda: set(models.names()) == {"stays"})
        assert lost == ["leaves"]
