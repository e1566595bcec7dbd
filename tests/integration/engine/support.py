"""Graphs for tests of the engine, and waiting with a deadline."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from dynamo.sdk.spec import DependencySpec, GraphSpec, ProbeSpec, ProbesSpec, ResourceSpec, RestartSpec, ServiceSpec
from dynamod.engine import Engine
from dynamod.schema import Graph, GraphSubmit, Replica, ReplicaState, locations
from dynamod.schema.locations import Locations

DEADLINE = 40.0

STAND_IN = f"""#!{sys.executable} -S
# Speaks the part of the replica contract that needs no discovery: arguments, environment, signals, exit code.
import os, signal, sys, time
service = sys.argv[sys.argv.index("--service-name") + 1]
def drain(*_):
    print("draining", flush=True)
    if "STUBBORN" not in os.environ:
        sys.exit(0)
signal.signal(signal.SIGTERM, drain)
exec(os.environ.get("BEFORE", ""))
print(f"{{service}} is up", flush=True)
exec(os.environ.get("THEN", ""))
while True:
    time.sleep(0.02 if "CHATTY" in os.environ else 60)
    if "CHATTY" in os.environ:
        n = globals().get("n", 0); globals()["n"] = n + 1
        print("tick", n, flush=True)
"""

QUICK = RestartSpec(attempts=3, window=60.0, delay=0.05, max_delay=0.1)


def interpreter(directory: Path) -> str:
    """An executable that stands in for a graph's interpreter."""
    path = directory / "stand-in"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return str(path)


def service(name: str, *needs: str, workers: int = 1, gpu: float = 0.0, **fields: Any) -> ServiceSpec:
    fields.setdefault("restart", QUICK)
    fields.setdefault("drain_timeout", 5.0)
    fields.setdefault("probes", ProbesSpec(readiness=ProbeSpec(kind="log", target="is up"), startup_timeout=30.0))
    return ServiceSpec(
        name=name,
        target=f"standin:{name}",
        dependencies=tuple(DependencySpec(attribute=n.lower(), service=n) for n in needs),
        workers=workers,
        resources=ResourceSpec(gpu=gpu),
        **fields,
    )


def graph(
    directory: Path, *services: ServiceSpec, name: str = "demo", envs: Mapping[str, str] | None = None
) -> GraphSpec:
    return GraphSpec(
        name=name,
        target=f"standin:{services[0].name}",
        entry=services[0].name,
        services=services,
        envs=dict(envs or {}),
        interpreter=interpreter(directory),
        working_dir=str(directory),
    )


def submission(spec: GraphSpec, **fields: Any) -> GraphSubmit:
    return GraphSubmit(spec=spec, **fields)


def where(tmp_path: Path) -> Locations:
    return locations(tmp_path / "state")


async def until(engine: Engine, condition: Callable[[], Awaitable[bool]], deadline: float = DEADLINE) -> None:
    """Look again after every event."""
    async with engine.subscribe(0) as events, asyncio.timeout(deadline):
        while not await condition():
            await anext(events)


async def until_state(engine: Engine, name: str, state: str, *, deadline: float = DEADLINE) -> Graph:
    async def reached() -> bool:
        return (await engine.graph("default", name)).state == state

    await until(engine, reached, deadline)
    return await engine.graph("default", name)


async def replicas(engine: Engine, service: str | None = None) -> list[Replica]:
    return (await engine.replicas(service=service)).items


async def until_replicas(
    engine: Engine, condition: Callable[[list[Replica]], bool], deadline: float = DEADLINE
) -> list[Replica]:
    async def reached() -> bool:
        return condition(await replicas(engine))

    await until(engine, reached, deadline)
    return await replicas(engine)


def all_ready(found: list[Replica]) -> bool:
    return bool(found) and all(r.state is ReplicaState.READY for r in found)
