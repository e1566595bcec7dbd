"""An engine with a graph in it, and waiting for what becomes of the graph."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from dynamo.sdk.spec import GraphSpec
from dynamod.engine import Engine
from dynamod.schema import Graph, GraphState, Replica, ReplicaState, locations
from tests.conformance.graphs import NAME, Place

DEADLINE_S = 150.0
WHO = "user:test"


class Running:
    """An engine with a graph in it; `restarted` puts a new engine in the place of the old one."""

    def __init__(self, base: Path, place: Place) -> None:
        self.place = place
        self._base = base
        self.engine = Engine(locations(base))

    async def __aenter__(self) -> Running:
        await self.engine.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.stop()

    async def removed(self) -> None:
        """Remove the graph, and wait until it is gone."""
        await self.engine.remove("default", NAME, actor=WHO)
        async with asyncio.timeout(DEADLINE_S):
            while (await self.engine.graphs()).items:
                await asyncio.sleep(0.1)

    async def submit(self, spec: GraphSpec) -> tuple[Graph, bool]:
        return await self.engine.submit(self.place.submission(spec), actor=WHO)

    async def restarted(self) -> None:
        await self.engine.stop()
        self.engine = Engine(locations(self._base))
        await self.engine.start()

    async def answers(self, wanted: str) -> None:
        """Wait until the graph answers so: what a roll-out replaced may still finish its last requests."""
        async with asyncio.timeout(DEADLINE_S):
            while await answer(await self.graph()) != wanted:
                await asyncio.sleep(0.2)

    async def graph(self, name: str = NAME) -> Graph:
        return await self.engine.graph("default", name)

    async def replicas(self, name: str = NAME) -> list[Replica]:
        """Those that are there to stay."""
        found = (await self.engine.replicas("default", name)).items
        return [r for r in found if r.state not in (ReplicaState.STOPPING, ReplicaState.EXITED)]

    async def until(self, holds: Callable[[Graph, list[Replica]], bool], name: str = NAME) -> list[Replica]:
        """Wait until it holds of the graph; its replicas as they are then."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            graph, replicas = await self.graph(name), await self.replicas(name)
            if holds(graph, replicas):
                return replicas
            assert time.monotonic() < deadline, (graph, replicas)
            await asyncio.sleep(0.1)

    async def settled(self, revision: int = 1) -> list[Replica]:
        return await self.until(lambda g, _: g.state is GraphState.READY and g.revision == revision)


async def answer(graph: Graph) -> str:
    assert graph.address is not None
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.post(f"{graph.address}/generate", json={"text": "a"}, timeout=60)).text
