"""Simulated workers and routers around a real discovery server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dynamo.llm.engines.base import EngineRequest, ModelCard, StopOptions
from dynamo.llm.engines.mocker import Mocker
from dynamo.llm.engines.mocker_core import MockerOptions
from dynamo.llm.kv.events import KvEventPublisher
from dynamo.llm.kv.follower import WorkerFollower
from dynamo.llm.kv.options import RouterOptions
from dynamo.llm.kv.router import KvRouter
from dynamo.runtime import DistributedRuntime
from dynamo.runtime.metrics import Registry
from tests.integration.runtime.conftest import Place, place, short_dir

__all__ = ["place", "short_dir"]

WORKER = Path(__file__).parent / "worker.py"


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


class Stage:
    """Workers under `ns/worker`, routers under `ns/router`, each with a runtime of its own."""

    def __init__(self, place: Place, stack: AsyncExitStack) -> None:
        self._place = place
        self._stack = stack

    async def runtime(self) -> DistributedRuntime:
        runtime = await DistributedRuntime.connect(
            self._place.url, scope="p/g", run_dir=self._place.directory, metrics=Registry()
        )
        self._stack.push_async_callback(runtime.shutdown)
        return runtime

    async def worker(self, **options: object) -> tuple[Mocker, int, KvEventPublisher]:
        """A simulated engine that serves its events; also its instance id."""
        values = {"block_size": 16, "vocab_size": 1000, "speedup_ratio": 1000.0, **options}
        engine = Mocker(ModelCard(name="m"), MockerOptions(**values))
        await engine.start(lambda line: None)
        self._stack.push_async_callback(engine.stop)
        runtime = await self.runtime()
        publisher = KvEventPublisher(engine, interval=0.02)
        await publisher.serve(runtime.namespace("ns").component("worker"))
        self._stack.push_async_callback(publisher.close)
        return engine, await runtime.instance_id(), publisher

    async def process(self) -> asyncio.subprocess.Process:
        """A worker in a process of its own, ready to serve."""
        env = {
            **os.environ,
            "DYN_DISCOVERY": self._place.url,
            "DYN_SCOPE": "p/g",
            "DYN_RUN_DIR": str(self._place.directory),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(WORKER), stdout=asyncio.subprocess.PIPE, env=env
        )

        async def end() -> None:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            async with asyncio.timeout(20):
                await process.wait()
            process._transport.close()  # type: ignore[attr-defined]

        self._stack.push_async_callback(end)
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"ready\n"
        return process

    async def router(self, **options: object) -> tuple[KvRouter, DistributedRuntime]:
        """A router that follows the workers."""
        router, runtime = KvRouter(RouterOptions(**options)), await self.runtime()
        follower = await WorkerFollower(router, runtime.namespace("ns").component("worker")).start()
        self._stack.push_async_callback(follower.close)
        return router, runtime


@pytest.fixture
async def stage(place: Place) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(place, stack)


async def ask(engine: Mocker, ids: list[int], max_tokens: int = 1, dp_rank: int | None = None) -> int:
    """Runs a request to its end; returns the prompt tokens that were cached."""
    request = EngineRequest(request_id="r", token_ids=ids, stop=StopOptions(max_tokens=max_tokens), dp_rank=dp_rank)
    async with asyncio.timeout(20):
        outputs = [output async for output in engine.generate(request)]
    assert outputs[0].cached_tokens is not None
    return outputs[0].cached_tokens
