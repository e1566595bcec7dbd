"""Streams over the real runtime: two workers in one process, each behind its own connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dynamo.llm.dispatch import Dispatcher, merge
from dynamo.llm.engines.base import EngineOutput, EngineRequest, InvalidRequest
from dynamo.llm.errors import Busy, GenerationFailed, NoWorkers, RequestError
from dynamo.llm.pipeline import Planned
from dynamo.llm.planning import AnyWorker
from dynamo.runtime import DistributedRuntime
from dynamo.runtime.discovery.local import LocalDiscoveryServer
from dynamo.runtime.errors import Overloaded
from dynamo.runtime.metrics import Registry

Handler = Callable[[EngineRequest], AsyncIterator[EngineOutput]]


class Cluster:
    """A caller and any number of workers around one discovery server."""

    def __init__(self, directory: Path, stack: AsyncExitStack, server: LocalDiscoveryServer) -> None:
        self.server = server
        self._directory = directory
        self._stack = stack
        self.workers: list[DistributedRuntime] = []

    async def connect(self) -> DistributedRuntime:
        runtime = await DistributedRuntime.connect(
            f"unix://{self._directory}/d.sock", scope="p/g", run_dir=None, metrics=Registry()
        )
        await self._stack.enter_async_context(runtime)
        return runtime

    async def worker(self, handler: Handler) -> int:
        runtime = await self.connect()
        endpoint = runtime.namespace("n").component("c").endpoint("generate")
        await endpoint.serve_endpoint(handler, request_type=EngineRequest)
        self.workers.append(runtime)
        return await runtime.instance_id()


@asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[Cluster]:
    stack = AsyncExitStack()
    made = Cluster(directory, stack, LocalDiscoveryServer(directory / "d.sock"))
    await made.server.start()
    try:
        async with stack:
            yield made
    finally:
        await made.server.stop()


class Follow:
    """A planner that sends a second attempt to `other`, and notes what it is told."""

    def __init__(self, other: int | None = None) -> None:
        self.other = other
        self.told: list[tuple[str, Any]] = []

    async def plan(self, request: Any, request_id: str) -> list[Planned]:
        raise NotImplementedError

    async def again(self, planned: Planned, without: frozenset[int]) -> Planned:
        self.told.append(("again", without))
        return Planned(request=planned.request, instance_id=self.other)

    def first_token(self, request_id: str, cached_tokens: int | None) -> None:
        self.told.append(("first", cached_tokens))

    def progressed(self, request_id: str, generated_tokens: int) -> None:
        self.told.append(("progressed", generated_tokens))

    def done(self, request_id: str) -> None:
        self.told.append(("done", request_id))


async def says(request: EngineRequest) -> AsyncIterator[EngineOutput]:
    yield EngineOutput(token_ids=[1], cached_tokens=3)
    yield EngineOutput(token_ids=[2, 3], finish_reason="length")


def planned(instance: int | None = None) -> Planned:
    return Planned(request=EngineRequest(request_id="r", token_ids=[1]), instance_id=instance)


async def collect(made: Cluster, planner: Any, plan: Planned) -> list[int]:
    client = (await made.connect()).namespace("n").component("c").endpoint("generate").client(wait=1.0)
    return [token async for output in Dispatcher(client, planner).run(plan) for token in output.token_ids]


async def test_a_stream_and_what_the_planner_hears(tmp_path: Path) -> None:
    async with cluster(tmp_path) as made:
        instance = await made.worker(says)
        follow = Follow()
        assert await collect(made, follow, planned(instance)) == [1, 2, 3]
        assert follow.told == [("first", 3), ("done", "r")]
        assert await collect(made, AnyWorker(), planned()) == [1, 2, 3]


async def test_a_long_answer_tells_how_it_grows(tmp_path: Path) -> None:
    async def long(request: EngineRequest) -> AsyncIterator[EngineOutput]:
        for _ in range(3):
            yield EngineOutput(token_ids=[1] * 100)
        yield EngineOutput(finish_reason="length")

    async with cluster(tmp_path) as made:
        follow = Follow()
        assert len(await collect(made, follow, planned(await made.worker(long)))) == 300
    grown = [value for kind, value in follow.told if kind == "progressed"]
    assert grown
    assert grown[-1] >= 200


async def test_a_worker_lost_before_its_first_token_is_replaced_unnoticed(tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def hangs(request: EngineRequest) -> AsyncIterator[EngineOutput]:
        reached.set()
        await asyncio.sleep(60)
        yield EngineOutput()

    async with cluster(tmp_path) as made:
        lost = await made.worker(hangs)
        follow = Follow(await made.worker(says))
        asking = asyncio.create_task(collect(made, follow, planned(lost)))
        await asyncio.wait_for(reached.wait(), 10)
        await made.workers[0].shutdown()
        assert await asyncio.wait_for(asking, 10) == [1, 2, 3]
        assert follow.told[0] == ("again", frozenset({lost}))


async def test_a_worker_lost_in_mid_stream_is_an_error(tmp_path: Path) -> None:
    async def begins(request: EngineRequest) -> AsyncIterator[EngineOutput]:
        yield EngineOutput(token_ids=[1])
        begun.set()
        await asyncio.sleep(60)

    begun = asyncio.Event()
    async with cluster(tmp_path) as made:
        lost = await made.worker(begins)
        follow = Follow(await made.worker(says))
        asking = asyncio.create_task(collect(made, follow, planned(lost)))
        await asyncio.wait_for(begun.wait(), 10)
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while ("first", None) not in follow.told:
                await asyncio.sleep(0.005)
        await made.workers[0].shutdown()
        with pytest.raises(GenerationFailed, match="went away in the middle"):
            await asyncio.wait_for(asking, 10)
        assert [kind for kind, _ in follow.told] == ["first", "done"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidRequest("token_ids", "too long"), RequestError),
        (Overloaded("full"), Busy),
        (RuntimeError("broken"), GenerationFailed),
    ],
)
async def test_refusals_keep_their_meaning(tmp_path: Path, error: Exception, expected: type[Exception]) -> None:
    async def refuses(request: EngineRequest) -> AsyncIterator[EngineOutput]:
        raise error
        yield EngineOutput()

    async with cluster(tmp_path) as made:
        instance = await made.worker(refuses)
        with pytest.raises(expected):
            await collect(made, Follow(instance), planned(instance))


async def test_nobody_to_ask(tmp_path: Path) -> None:
    async with cluster(tmp_path) as made:
        with pytest.raises(NoWorkers):
            await collect(made, AnyWorker(), planned())


def test_deltas_that_arrive_together_become_one() -> None:
    items = [
        {"token_ids": [1], "cached_tokens": 4, "logprobs": [{"token_id": 1, "logprob": -1.0}]},
        {"token_ids": [2], "finish_reason": "stop", "stop_reason": 2},
    ]
    merged = merge(items)
    assert (merged.token_ids, merged.cached_tokens, merged.finish_reason, merged.stop_reason) == ([1, 2], 4, "stop", 2)
    assert [entry.token_id for entry in merged.logprobs or ()] == [1]
