"""What the parts of an engine share."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from dynamo.runtime.discovery.local import LocalDiscoveryServer
from dynamod.builds.store import BuildStore
from dynamod.drivers.base import Driver
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

    def now(self) -> float:
        """Seconds since the epoch: written down, and compared over restarts of the engine."""
        return self.clock()

    def chance(self) -> float:
        return random.random()
