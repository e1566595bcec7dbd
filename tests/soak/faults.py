"""The faults, each a coroutine that does one and says what it did. None waits for the world to recover."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.soak.world import Found, World

Fault = Callable[[World, random.Random], Awaitable[str | None]]


def _pick(world: World, chance: random.Random, *services: str) -> Found | None:
    found = [p for p in world.processes() if p.service in services]
    return chance.choice(found) if found else None


def _hurts(world: World, process: Found) -> None:
    if process.service == "Frontend":
        world.frontend_hurt.append(time.monotonic())


async def replica_killed(world: World, chance: random.Random) -> str | None:
    services = chance.choice((("Worker",), ("Worker",), ("Processor", "Router"), ("Back", "Front"), ("Frontend",)))
    if (process := _pick(world, chance, *services)) is None:
        return None
    _hurts(world, process)
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    return process.service


async def replica_stopped(world: World, chance: random.Random) -> str | None:
    """Frozen, as a process that swaps: it answers nobody, and is not dead."""
    if (process := _pick(world, chance, "Worker", "Processor", "Router")) is None:
        return None
    with suppress(ProcessLookupError):
        world.stopped.add(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(0.5, 3.0))
        world.go_on(process.pid)
    return process.service


async def shim_killed(world: World, chance: random.Random) -> str | None:
    names = {p.replica: p.service for p in world.processes() if p.service}
    shims = [p for p in world.processes() if not p.service and names.get(p.replica) not in (None, "Frontend")]
    if not shims:
        return None
    shim = chance.choice(shims)
    world.shims_killed.add(shim.replica)
    with suppress(ProcessLookupError):
        os.kill(shim.pid, signal.SIGKILL)
    return names.get(shim.replica)


async def daemon_killed(world: World, chance: random.Random) -> str | None:
    world.daemon.signal(signal.SIGKILL)
    return ""


async def daemon_stopped(world: World, chance: random.Random) -> str | None:
    world.daemon.signal(signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(0.5, 3.0))
    world.daemon.signal(signal.SIGCONT)
    return ""


async def server_killed(world: World, chance: random.Random) -> str | None:
    name = chance.choice(sorted(world.servers))
    server = world.servers[name]
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(chance.uniform(0.0, 2.0))
    await asyncio.to_thread(server.start)
    return name


async def server_stopped(world: World, chance: random.Random) -> str | None:
    name = chance.choice(sorted(world.servers))
    world.servers[name].signal(signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(0.5, 3.0))
    world.servers[name].signal(signal.SIGCONT)
    return name


async def connections_cut(world: World, chance: random.Random) -> str | None:
    name = chance.choice(sorted(world.proxies))
    world.proxies[name].cut()
    return name


async def disk_filled(world: World, chance: random.Random) -> str | None:
    """Every write to the state directory fails with ENOSPC for a while, the database's and the logs' included."""
    with world.filler.open("wb") as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
    try:
        (world.state / "probe").write_bytes(b"x" * 8192)
        world.report.found("the disk was to be full, and is not")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    (world.state / "probe").unlink(missing_ok=True)
    await asyncio.sleep(chance.uniform(1.0, 4.0))
    world.filler.unlink(missing_ok=True)
    return ""


async def clock_set(world: World, chance: random.Random) -> str | None:
    """The daemon's wall clock is set, an hour or some seconds away, forwards or back."""
    hours = chance.choice((1.0, -1.0, 0.005, -0.005))
    world.clock.write_text(str(3600.0 * hours))
    await asyncio.sleep(chance.uniform(0.0, 2.0))
    return "forwards" if hours > 0 else "back"


def faults_of(world: World) -> dict[str, Fault]:
    """What can be done to this world."""
    found: dict[str, Fault] = {
        "replica killed": replica_killed,
        "replica stopped": replica_stopped,
        "shim killed": shim_killed,
        "daemon killed": daemon_killed,
        "daemon stopped": daemon_stopped,
        "clock set": clock_set,
    }
    if world.servers:
        found |= {"server killed": server_killed, "server stopped": server_stopped, "connections cut": connections_cut}
    if world.can_fill:
        found["disk filled"] = disk_filled
    return found
