"""Router replicas and simulated workers over the real runtime: who is chosen, and that everything is given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from dynamo.llm.engines.base import EngineRequest, ModelCard, StopOptions
from dynamo.llm.engines.mocker import Mocker
from dynamo.llm.engines.mocker_core import MockerOptions
from dynamo.llm.errors import NoWorkers, RequestError
from dynamo.llm.kv.options import RouterOptions
from dynamo.llm.kv.service import RouterService
from dynamo.llm.planning import Reports
from dynamo.llm.routing import RouteCall, RouterPicker
from dynamo.llm.worker import WorkerService
from tests.unit.llm.test_dispatch import Cluster, cluster

FREE: frozenset[int] = frozenset()


class Routed:
    """`workers` simulated workers and `routers` replicas of the router, in one process."""

    def __init__(self, made: Cluster, stack: AsyncExitStack) -> None:
        self._made = made
        self._stack = stack
        self.workers: list[WorkerService] = []
        self.routers: list[RouterService] = []
        self.picker: RouterPicker

    async def start(self, workers: int, routers: int) -> None:
        for _ in range(workers):
            runtime = await self._made.connect()
            engine = Mocker(ModelCard(name="m"), MockerOptions(num_gpu_blocks=256, speedup_ratio=1000, vocab_size=1000))
            worker = WorkerService(runtime, engine, namespace="n", component="worker")
            await worker.start(lambda _: None)
            self._stack.push_async_callback(worker.stop)
            self.workers.append(worker)
        for _ in range(routers):
            runtime = await self._made.connect()
            own = runtime.namespace("n").component("router")
            service = RouterService(
                runtime, RouterOptions(), workers=runtime.namespace("n").component("worker"), own=own
            )
            await service.start()
            self._stack.push_async_callback(service.close)
            await own.endpoint("route").serve_endpoint(_route(service), request_type=RouteCall)
            await own.endpoint("report").serve_endpoint(_tell(service), request_type=Reports)
            self.routers.append(service)
        caller = (await self._made.connect()).namespace("n").component("router")
        self.picker = RouterPicker(await caller.endpoint("route").client(), await caller.endpoint("report").client())
        await until(lambda: all(len(router.router.workers) == workers for router in self.routers))

    def in_flight(self) -> int:
        return sum(int(service.router.active.requests.sum()) for service in self.routers)


def _route(service: RouterService) -> Callable[..., object]:
    async def route(call: RouteCall) -> object:
        return service.route(call)

    return route


def _tell(service: RouterService) -> Callable[..., object]:
    async def tell(reports: Reports) -> int:
        return service.tell(reports)

    return tell


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def routed(directory: Path, *, workers: int, routers: int) -> AsyncIterator[Routed]:
    async with cluster(directory) as made, AsyncExitStack() as stack:
        graph = Routed(made, stack)
        await graph.start(workers, routers)
        yield graph


def request(name: str, ids: list[int]) -> EngineRequest:
    return EngineRequest(request_id=name, token_ids=ids, stop=StopOptions(max_tokens=2))


async def test_a_prompt_goes_where_its_prefix_is(tmp_path: Path) -> None:
    async with routed(tmp_path, workers=3, routers=1) as graph:
        ids = list(range(5, 165))
        first = await graph.picker.pick(request("a", ids), without=FREE, overrides=None)
        ids_of = {await worker._runtime.instance_id(): worker for worker in graph.workers}
        holder = ids_of[first.instance_id or 0]
        assert [o async for o in holder.generate(first.request)][-1].finish_reason == "length"
        graph.picker.first_token("a", 0)
        graph.picker.done("a")
        index = graph.routers[0].router.index
        await until(lambda: sum(index.blocks.values()) >= 10 and graph.in_flight() == 0)
        second = await graph.picker.pick(request("b", [*ids, 7]), without=FREE, overrides=None)
        assert (second.instance_id, second.request.overlap_blocks) == (first.instance_id, 10)
        elsewhere = await graph.picker.pick(
            request("c", ids), without=frozenset({first.instance_id or 0}), overrides=None
        )
        assert elsewhere.instance_id != first.instance_id


async def test_replicas_give_back_what_each_was_told(tmp_path: Path) -> None:
    async with routed(tmp_path, workers=2, routers=2) as graph:
        names = [f"r{n}" for n in range(40)]
        for name in names:
            await graph.picker.pick(request(name, [5] * 40), without=FREE, overrides=None)
        assert all(service.router.active.requests.sum() > 0 for service in graph.routers)
        for name in names:
            graph.picker.first_token(name, 0)
            graph.picker.progressed(name, 128)
            graph.picker.done(name)
        await graph.picker.close()
        await until(lambda: graph.in_flight() == 0)


async def test_what_cannot_be_routed_says_why(tmp_path: Path) -> None:
    async with routed(tmp_path, workers=1, routers=1) as graph:
        only = await graph.workers[0]._runtime.instance_id()
        with pytest.raises(NoWorkers):
            await graph.picker.pick(request("a", [5]), without=frozenset({only}), overrides=None)
        with pytest.raises(RequestError, match="guess"):
            await graph.picker.pick(request("b", [5]), without=FREE, overrides={"mode": "guess"})
        with pytest.raises(RequestError, match="nonsense"):
            await graph.picker.pick(request("c", [5]), without=FREE, overrides={"nonsense": 1})
