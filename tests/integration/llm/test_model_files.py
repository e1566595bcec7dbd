"""Frontends and workers that see different file systems: the files come over the wire, from any worker that lives."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from pathlib import Path

import pytest

from dynamo.llm import model_transfer
from dynamo.llm.errors import ModelError, NoWorkers
from dynamo.llm.models import Catalogue
from dynamo.llm.tinymodel import make
from tests.integration.runtime.conftest import Place, Process, place, short_dir

__all__ = ["place", "short_dir"]

WORKER = Path(__file__).parent / "model_worker.py"


class Workers:
    """Worker processes, each of which sees its model below its own working directory, as `/proc/self/cwd/model`."""

    def __init__(self, place: Place, model: Path) -> None:
        self._place, self._model = place, model

    async def start(self, name: str) -> tuple[Process, Path]:
        directory = self._place.directory / name
        shutil.copytree(self._model, directory / "model")
        started = await asyncio.create_subprocess_exec(
            sys.executable, str(WORKER), stdout=asyncio.subprocess.PIPE, cwd=directory, env=self._place.environment()
        )
        process = Process(started)
        self._place.stack.push_async_callback(process.end)
        assert started.stdout is not None
        async with asyncio.timeout(30):
            assert await started.stdout.readline() == b"ready\n"
        return process, directory / "model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model") / "tiny", vocab_size=1024, context_length=512)


@pytest.fixture
def workers(place: Place, model: Path) -> Workers:
    return Workers(place, model)


@pytest.fixture
async def catalogue(place: Place, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    monkeypatch.setenv("DYN_MODEL_CACHE", str(place.directory / "cache"))
    catalogue = Catalogue(await place.runtime())
    await catalogue.start()
    return catalogue


async def test_the_files_come_from_a_worker_once(workers: Workers, catalogue: Catalogue, place: Place) -> None:
    await workers.start("a")
    assert await catalogue.set.wait_for("mine", 20)
    card = catalogue.set.card("mine")
    assert card is not None
    assert not Path(card.model_path).exists(), "this process has no such path"
    model = await catalogue.load("mine")
    assert model.tokenizer.decode(model.tokenizer.encode("Grüße")) == "Grüße"
    assert model.tokenizer.path.parent == place.directory / "cache"
    written = model.tokenizer.path.stat().st_ino
    again = Catalogue(await place.runtime())
    await again.start()
    assert (await again.load("mine")).tokenizer.path.stat().st_ino == written, "nothing was fetched again"


async def test_a_lost_worker_is_replaced_in_the_middle_of_a_file(
    workers: Workers, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two is stopped before anything is asked of it, and killed while the frontend waits for it."""
    first, _ = await workers.start("a")
    await workers.start("b")
    assert await catalogue.set.wait_for("mine", 20)
    first.signal(signal.SIGSTOP)
    loading = asyncio.create_task(catalogue.load("mine"))
    await asyncio.wait([loading], timeout=0.3)
    first.signal(signal.SIGKILL)
    async with asyncio.timeout(30):
        assert (await loading).card.name == "mine"


async def test_files_that_were_changed_under_a_worker_are_not_used(
    workers: Workers, catalogue: Catalogue, place: Place
) -> None:
    _, directory = await workers.start("a")
    assert await catalogue.set.wait_for("mine", 20)
    text = (directory / "config.json").read_text()
    (directory / "config.json").write_text(text.replace("llama", "lxama"))
    with pytest.raises(ModelError, match="start the worker anew"):
        await catalogue.load("mine")
    assert list((place.directory / "cache").iterdir()) == []
    (directory / "config.json").write_text(text)
    assert (await catalogue.load("mine")).card.name == "mine"


async def test_a_shared_store_spares_the_way(
    workers: Workers, catalogue: Catalogue, model: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(model, place.directory / "shared" / "model")
    monkeypatch.setenv("DYN_MODEL_STORE", str(place.directory / "shared"))
    await workers.start("a")
    assert await catalogue.set.wait_for("mine", 20)
    assert (await catalogue.load("mine")).tokenizer.path == place.directory / "shared" / "model"


async def test_nobody_there_says_so(workers: Workers, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    process, _ = await workers.start("a")
    assert await catalogue.set.wait_for("mine", 20)
    process.signal(signal.SIGSTOP)
    monkeypatch.setattr(model_transfer, "DEADLINE_S", 0.5)
    with pytest.raises(NoWorkers, match="no worker gives them"):
        await catalogue.load("mine")
    process.signal(signal.SIGCONT)
    monkeypatch.undo()
    assert (await catalogue.load("mine")).card.name == "mine"


async def test_a_worker_gives_nothing_else(workers: Workers, catalogue: Catalogue, place: Place) -> None:
    _, directory = await workers.start("a")
    (directory / "secret").write_text("s")
    assert await catalogue.set.wait_for("mine", 20)
    card = catalogue.set.card("mine")
    assert card is not None
    endpoint = (await place.runtime()).namespace("ns").component("worker")
    client = endpoint.endpoint(model_transfer.endpoint_name(card.files)).client()
    for name in ("secret", "../model/secret", "/etc/hostname"):
        with pytest.raises(Exception, match="there is no file"):
            await (await client.round_robin({"name": name})).one()
