"""What the parts of an engine share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from dynamo.runtime.discovery.local import LocalDiscoveryServer
from dynamod.builds.store import BuildStore
from dynamod.drivers.base import Driver, GraphDriver
from dynamod.drivers.cgroups import NO_CGROUPS, Cgroups
from dynamod.drivers.environment import Surroundings
from dynamod.engine.clock import SteadyClock
from dynamod.engine.feed import Feed
from dynamod.engine.gpus import GpuLedger
from dynamod.engine.memory import Memory
from dynamod.engine.options import EngineOptions
from dynamod.schema.locations import Locations
from dynamod.store.database import Store
from dynamod.tasks import OwnedTasks


class OnDemand(Mapping[str, GraphDriver]):
    """Drivers by name, each made when it is first asked for: its imports are paid for by those who use it."""

    def __init__(self, makers: Mapping[str, Callable[[], GraphDriver]]) -> None:
        self._makers = makers
        self._made: dict[str, GraphDriver] = {}

    def __getitem__(self, name: str) -> GraphDriver:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    async def close(self) -> None:
        """Close those that were made."""
        for driver in self._made.values():
            await driver.close()


@dataclass
class Core:
    """One running engine's parts."""

    where: Locations
    options: EngineOptions
    store: Store
    feed: Feed
    memory: Memory
    discovery: LocalDiscoveryServer
    around: Surroundings
    gpus: GpuLedger
    builds: BuildStore
    tasks: OwnedTasks
    starting: asyncio.Semaphore
    host: str
    clock: SteadyClock
    groups: Cgroups = NO_CGROUPS
    drivers: dict[str, Driver] = field(default_factory=dict)
    graph_drivers: OnDemand = field(default_factory=lambda: OnDemand({}))

    def now(self) -> float:
        """Seconds since the epoch: written down, and compared over restarts of the engine."""
        return self.clock()

    def chance(self) -> float:
        return random.random()
