"""The daemon is killed at its transaction boundaries and at random, while everything changes. Afterwards:

no replica runs twice or without an owner, no GPU is leaked, every exit is known, no log line is missing, and the
event sequence has no gap. `make chaos` does it a hundred times; the test run does a few (`DYNAMOD_CHAOS_ROUNDS`).
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
import pytest

from dynamo.sdk.spec import encode
from dynamod.drivers import logfile
from dynamod.drivers.identity import read_exit, read_run
from dynamod.engine import Engine, EngineOptions
from dynamod.schema import GraphSubmit, Replica, RestartRequest
from dynamod.schema.locations import Locations
from tests.integration.engine.support import all_ready, graph, replicas, service, until, until_replicas, where

ROUNDS = int(os.environ.get("DYNAMOD_CHAOS_ROUNDS", "6"))
ROOT = Path(__file__).parents[2]
VICTIM = Path(__file__).with_name("victim.py")
SIMULATED = {**os.environ, "DYNAMOD_GPUS": "8xH100-80GB"}


async def one_death(state: Path, spec_file: Path, when: str, chance: random.Random) -> None:
    """Run the engine until it kills itself, or kill it at a random moment."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(VICTIM),
        str(state),
        str(spec_file),
        when,
        env={**SIMULATED, "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}"},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if when == "run":
            assert process.stdout is not None
            await asyncio.wait_for(process.stdout.readline(), 60)
            await asyncio.sleep(chance.uniform(0.0, 2.0))
        else:
            await asyncio.wait_for(process.wait(), 60)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def replica_processes(places: Locations) -> Counter[str]:
    """Live main processes by replica, found by their environment: nothing the engine says is believed."""
    found: Counter[str] = Counter()
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            argv = process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if environ.get("DYN_DISCOVERY", "").endswith(str(places.discovery_socket)) and "--service-name" in argv:
            found[environ["DYN_REPLICA_ID"]] += 1
    return found


def check_logs(places: Locations) -> None:
    """Every run's lines are numbered without a gap, and every index points at line starts."""
    for directory in places.replicas_dir.iterdir():
        log = Path(logfile.log_dir(str(directory)))
        records = logfile.read_index(str(log), 0)  # before the lines: the replica goes on writing
        lines = b"".join((log / logfile.segment_name(n)).read_bytes() for n in logfile.segments(str(log))).split(b"\n")
        expected = 1
        for line in lines:
            if line.endswith(b" is up"):
                expected = 1
            elif line.startswith(b"tick "):
                assert line == b"tick %d" % expected, directory.name
                expected += 1
        for _, offset, number in records:
            assert (
                b"\n".join(lines[:number]) + b"\n" * bool(number)
                == (log / logfile.segment_name(0)).read_bytes()[:offset]
            )


async def claimed_by(engine: Engine, holders: set[str]) -> bool:
    """Whether exactly these replicas hold exactly one share each; releases may be under way for a moment."""
    claims = Counter(claim.replica for gpu in await engine.gpus() for claim in gpu.claimed)
    return claims == Counter(holders)


async def check(places: Locations, request: GraphSubmit) -> None:
    async with Engine(places, options=EngineOptions(environ=SIMULATED)) as engine:
        await engine.submit(request, actor="test")
        await engine.start_graph("default", "demo", actor="test")
        wanted = 1 + next(s.desired for s in (await engine.graph("default", "demo")).services if s.name == "Back")

        def settled(found: list[Replica]) -> bool:
            return len(found) == wanted and all_ready(found)

        found = await until_replicas(engine, settled, 60)
        alive = replica_processes(places)
        assert alive == Counter({r.id: 1 for r in found})
        for replica in found:
            record = read_run(places.replica_dir(replica.id), engine.core.memory.replicas[replica.id].run)
            assert record is not None
            assert record.pid == replica.pid
        events = []
        after = 0
        while page := (await engine.events(after, 1000)).items:
            events += page
            after = page[-1].seq
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        for directory in places.replicas_dir.iterdir():
            runs = {int(p.stem.split("-")[1]) for p in directory.glob("run-*.json")}
            live = engine.core.memory.replicas.get(directory.name)
            for run in runs:
                if live is None or run != live.run:
                    assert read_exit(directory, run) is not None, f"{directory.name} run {run} left no exit code"
        await until(engine, partial(claimed_by, engine, {r.id for r in found if r.service == "Back"}), 60)
        check_logs(places)


@pytest.mark.timeout(60 + 30 * ROUNDS)
async def test_killed_again_and_again(tmp_path: Path) -> None:
    places = where(tmp_path)
    seed = int(os.environ.get("DYNAMOD_CHAOS_SEED", random.randrange(1 << 30)))
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    chance = random.Random(seed)
    spec = graph(
        tmp_path, service("Front", "Back"), service("Back", workers=2, gpu=0.5, envs={"CHATTY": "1"}, drain_timeout=2.0)
    )
    spec_file = tmp_path / "spec.json"
    spec_file.write_bytes(encode(spec))
    for n in range(ROUNDS):
        side = ("before", "after", "run")[n % 3]
        when = side if side == "run" else f"{side}:{1 + n // 3 if n < 60 else chance.randrange(1, 60)}"
        await one_death(places.state_dir, spec_file, when, chance)
        if n % 5 == 4 or n == ROUNDS - 1:
            await check(places, GraphSubmit(spec=spec))
    async with Engine(places, options=EngineOptions(environ=SIMULATED)) as engine:
        await engine.restart("default", "demo", RestartRequest(), actor="test")
        await engine.remove("default", "demo", actor="test")

        async def gone() -> bool:
            return not (await engine.graphs()).items and not any(gpu.claimed for gpu in await engine.gpus())

        await until(engine, gone, 60)
        assert not await replicas(engine)
    assert not replica_processes(places)
