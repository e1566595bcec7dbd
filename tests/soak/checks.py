"""What is looked at: continuously, and when the faults have stopped."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections import Counter, defaultdict
from contextlib import closing, suppress

import httpx
import psutil

from dynamo_tui.client import calls
from dynamo_tui.client.errors import ClientError
from dynamod.drivers.environment import sockets_dir
from dynamod.schema import Replica, ReplicaState
from tests.chaos import evidence
from tests.soak.chats import NotTold, ask
from tests.soak.operators import Operator
from tests.soak.world import WORKERS, World

LONGEST_WAIT_S = 90.0


async def watch(world: World) -> None:
    """No replica ever has two processes, and a state that is told is true a moment later still or no longer told."""
    doubted: dict[str, int] = {}
    while True:
        await asyncio.sleep(1.0)
        mains = Counter(p.replica for p in await asyncio.to_thread(world.processes) if p.service)
        for replica, count in mains.items():
            if count > 1:
                world.report.found(f"{replica} has {count} processes")
        with suppress(ClientError):
            found = (await world.client.send(calls.replicas(limit=1000))).items
            now = {r.id: r.pid for r in found if r.state is ReplicaState.READY and r.pid and not _lives(r.pid)}
            for replica in now.keys() & doubted.keys():
                if now[replica] == doubted[replica]:
                    world.report.found(f"{replica} is called ready with pid {now[replica]}, dead for a second and more")
            doubted = now  # type: ignore[assignment]


async def feel_lateness(world: World) -> None:
    """How late the soak itself is woken: on a machine that starves it, no time that it measures means anything."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.1
        await asyncio.sleep(0.1)
        world.report.late_s.append(loop.time() - due)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def ready_again(world: World, operator: Operator, limit: float) -> list[Replica]:
    """Wait until everything is ready after the last fault, and a chat is answered; the replicas then."""
    began = time.monotonic()
    chance = random.Random(0)
    found: list[Replica] = []
    why = "the daemon did not answer"
    async with httpx.AsyncClient(base_url=world.url, timeout=5.0) as http:
        settling = asyncio.create_task(operator.settle())
        while time.monotonic() - began < LONGEST_WAIT_S:
            await asyncio.sleep(0.1)
            try:
                if not settling.done():
                    why = "the daemon took no command"
                    continue
                found = (await world.client.send(calls.replicas(limit=1000))).items
                waiting = [r for r in found if r.state is not ReplicaState.READY]
                services = Counter(r.service for r in found)
                if waiting or services["Back"] != 2 or services["Worker"] != WORKERS:
                    why = "; ".join(f"{r.id} {r.state} ({r.reason}) {r.message}" for r in waiting) or str(services)
                    continue
                why = "no chat is answered"
                if await ask(http, chance) == "ok":
                    break
            except (ClientError, httpx.HTTPError, NotTold) as error:
                why = f"{why}: {error!r}"
        else:
            world.report.found(f"not everything was ready {LONGEST_WAIT_S:.0f} s after the last fault: {why}")
        settling.cancel()
    took = time.monotonic() - began
    world.report.recoveries_s.append(took)
    if limit < took < LONGEST_WAIT_S:
        world.report.found(f"everything was ready only {took:.1f} s after the last fault; last: {why}")
    return found


async def look(world: World, operator: Operator, found: list[Replica]) -> None:
    """What must hold when nothing is going on."""
    report = world.report
    problems = await asyncio.to_thread(_processes_and_files, world, found)
    for gpu in await world.client.send(calls.gpus()):
        for claim in gpu.claimed:
            if claim.replica not in {r.id for r in found}:
                problems.append(f"GPU {gpu.index} is claimed by {claim.replica}, which is gone")
    graph = await world.client.send(calls.graph("side"))
    desired = next(s.desired for s in graph.services if s.name == "Back")
    if desired != operator.scale:
        problems.append(f"{operator.scale} replicas were accepted, and {desired} are wanted")
    kept = {f"{b.name}:{b.version}" for b in (await world.client.send(calls.builds(limit=1000))).items}
    problems += [f"build {tag} was accepted and is gone" for tag in sorted(operator.builds - kept)]
    problems += [f"build {tag} was never accepted" for tag in sorted(kept - operator.builds - operator.unsure)]
    for problem in problems:
        report.found(problem)
    report.usage.append(await asyncio.to_thread(_usage, world, found))


def _processes_and_files(world: World, found: list[Replica]) -> list[str]:
    known = {r.id: r for r in found}
    mains: dict[str, list[int]] = defaultdict(list)
    shims: Counter[str] = Counter()
    for process in world.processes():
        if process.service:
            mains[process.replica].append(process.pid)
        else:
            shims[process.replica] += 1
    problems = [f"{name} runs, and the daemon knows nothing of it" for name in mains.keys() - known.keys()]
    problems += [f"a shim of {name} runs on" for name in shims.keys() - known.keys()]
    for name, replica in known.items():
        if mains[name] != [replica.pid]:
            problems.append(f"{name} should be process {replica.pid}, and is {mains[name]}")
    live = {name: max(_runs(world, name), default=0) for name in known}
    for problem in evidence.exits_missing(world.where, live):
        if problem.split()[0] not in world.shims_killed:
            problems.append(problem)
    expected = {sockets_dir(world.where, name).name for name in known}
    folders = {entry.name for entry in os.scandir(world.where.run_dir) if entry.is_dir() and len(entry.name) == 10}
    problems += [f"the sockets of a replica that is gone are left in {name}" for name in folders - expected]
    return problems


def _runs(world: World, replica: str) -> list[int]:
    return [int(p.stem.split("-")[1]) for p in world.where.replica_dir(replica).glob("run-*.json")]


def _usage(world: World, found: list[Replica]) -> dict[str, dict[str, object]]:
    roles: dict[str, list[int]] = {}
    pids = {"daemon": world.daemon.process.pid if world.daemon.process else 0}
    pids |= {f"{r.service.lower()}-{r.index}": r.pid or 0 for r in found if r.graph == "chat"}
    for role, pid in pids.items():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            roles[role] = [process.memory_info().rss >> 20, process.num_fds(), process.num_threads()]
    with closing(sqlite3.connect(world.where.database, timeout=30.0)) as connection:
        counts: dict[str, object] = {
            f"rows: {table}": connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("graphs", "revisions", "replicas", "gpu_claims", "builds", "plans", "events")
        }
    counts["processes"] = len(world.processes())
    counts["state MiB"] = sum(p.stat().st_size for p in world.state.rglob("*") if p.is_file()) >> 20
    return {"roles": roles, "counts": counts}


def leaks(world: World) -> None:
    """Compare the first and the last quiet moment: the same roles, at rest, must not have grown."""
    usage = world.report.usage
    if len(usage) < 2:
        return
    first, last = usage[0], usage[-1]
    for role, (rss, files, threads) in last["roles"].items():
        rss0, files0, threads0 = first["roles"].get(role, (rss, files, threads))
        if rss > 1.6 * rss0 + 64:
            world.report.found(f"{role} grew from {rss0} to {rss} MiB")
        if files > files0 + 40:
            world.report.found(f"{role} had {files0} files open, and has {files}")
        if threads > threads0 + 20:
            world.report.found(f"{role} had {threads0} threads, and has {threads}")
    claims, back = last["counts"]["rows: gpu_claims"], 2
    if claims != back:
        world.report.found(f"{claims} GPU claims are in the database, for {back} replicas with one each")
