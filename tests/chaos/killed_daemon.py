"""The daemon is killed at every kind of transaction boundary and at random, under requests and under change.

Two graphs: `demo` is disturbed in every way, `counting` answers numbered requests all the while and is changed only in
ways that its callers must not notice. Afterwards: no request has failed, no replica runs twice or without an owner, no
GPU is leaked, every exit is known, no log line is missing, and the event sequence has no gap.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from dynamo.sdk.spec import GraphSpec, decode, encode
from dynamod.core.errors import Conflict
from dynamod.drivers.identity import read_run
from dynamod.engine import Engine, EngineOptions
from dynamod.schema import GraphSubmit, RestartRequest
from tests.chaos import evidence
from tests.chaos.callers import Answers, calling
from tests.integration.engine.support import all_ready, graph, replicas, service, until, where

ROOT = Path(__file__).parents[2]
VICTIM = Path(__file__).with_name("victim.py")
SIMULATED = {**os.environ, "DYNAMOD_GPUS": "8xH100-80GB"}
SETTLED_S = 60.0
AT_A_BOUNDARY_S = 20.0
"""How long a boundary may be waited for; where it does not come, the death was at a random moment."""


@dataclass
class Report:
    """What happened, and what should not have."""

    seed: int
    rounds: int = 0
    seconds: float = 0.0
    answers: Answers = field(default_factory=Answers)
    deaths: Counter[str] = field(default_factory=Counter)
    not_reached: list[str] = field(default_factory=list)
    events: int = 0
    findings: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [
            f"seed {self.seed}: {self.rounds} deaths of the daemon in {self.seconds:.0f} s, {self.events} events",
            f"requests: {len(self.answers.answered)} answered, {len(self.answers.failures)} failed",
            "deaths by boundary:",
            *(f"  {count:4}  {boundary}" for boundary, count in sorted(self.deaths.items())),
        ]
        if self.not_reached:
            lines.append(f"boundaries at which it did not die: {', '.join(self.not_reached)}")
        lines.append(f"findings: {len(self.findings) or 'none'}")
        return "\n".join([*lines, *(f"  {finding}" for finding in self.findings)])


def served() -> GraphSpec:
    """The graph that answers: a frontend, and two replicas behind it."""
    command = [sys.executable, "-m", "dynamo.sdk.inspect", "counting:Front", "--port", "0", "--host", "127.0.0.1"]
    folder = ROOT / "tests" / "e2e" / "graphs"
    spec = decode(subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout)
    return replace(spec, services=tuple(replace(s, workers=2) if s.name == "Back" else s for s in spec.services))


class Chaos:
    """One run. `directory` becomes the daemon's home."""

    def __init__(self, directory: Path, rounds: int, seed: int) -> None:
        self.places = where(directory)
        self.report = Report(seed)
        self.rounds = rounds
        self.chance = random.Random(seed)
        self.demo = graph(
            directory,
            service("Front", "Back"),
            service("Back", workers=2, gpu=0.5, envs={"CHATTY": "1"}, drain_timeout=2.0),
        )
        self.served = served()
        self.files = [directory / name for name in ("demo.json", "served.json", "seen")]
        self.files[0].write_bytes(encode(self.demo))
        self.files[1].write_bytes(encode(self.served))
        self.files[2].touch()

    async def run(self) -> Report:
        began = time.monotonic()
        url, front = await self._set_up()
        async with calling(url) as answers:
            self.report.answers = answers
            for number in range(self.rounds):
                await self._one_death(number)
                if number % 5 == 4 or number == self.rounds - 1:
                    await self._check()
        await self._check_served(front)
        await self._take_down()
        self.report.rounds = self.rounds
        self.report.seconds = time.monotonic() - began
        return self.report

    def _found(self, findings: list[str] | str) -> None:
        self.report.findings += [findings] if isinstance(findings, str) else findings

    def _engine(self) -> Engine:
        return Engine(self.places, options=EngineOptions(environ=SIMULATED))

    async def _set_up(self) -> tuple[str, tuple[str, int | None]]:
        """The frontend's address, and who it is."""
        async with self._engine() as engine:
            await engine.submit(GraphSubmit(spec=self.served), actor="test")
            await until(engine, partial(self._settled, engine), SETTLED_S)
            address = (await engine.graph("default", self.served.name)).address
            front = (await engine.replicas(service="Front")).items[0]
            assert address is not None
            return address, (front.id, front.pid)

    async def _one_death(self, number: int) -> None:
        """Run the engine until it kills itself at a boundary, or kill it at a random moment."""
        when = self._next(number)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(VICTIM),
            str(self.places.state_dir),
            *map(str, self.files),
            when,
            env={**SIMULATED, "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}"},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            if when == "run":
                assert process.stdout is not None
                await asyncio.wait_for(process.stdout.readline(), 60)
                await asyncio.sleep(self.chance.uniform(0.0, 2.0))
            else:
                await asyncio.wait_for(process.wait(), AT_A_BOUNDARY_S)
        except TimeoutError:
            pass
        finally:
            if process.returncode is None:
                process.kill()
                self.report.deaths["at a random moment"] += 1
            elif process.returncode != -9:
                self._found(f"the daemon ended by itself with {process.returncode}, when {when!r} was asked for")
            await process.communicate()
        self._count_deaths()

    def _next(self, number: int) -> str:
        """Boundaries at which it has not died yet come first; every third death is at a random moment."""
        side = ("before", "after", "run")[number % 3]
        if side == "run":
            return side
        fresh = [kind for kind in self._kinds() if not self.report.deaths[f"{side} {kind}"]]
        if fresh and not (number > 9 and number % 4 == 0):
            return f"{side}:{self.chance.choice(fresh)}"
        return f"{side}:#{self.chance.randrange(1, 40)}"

    def _kinds(self) -> list[str]:
        return sorted({line for line in self.files[2].read_text().splitlines() if not line.startswith("! ")})

    def _count_deaths(self) -> None:
        lines = Counter(line[2:] for line in self.files[2].read_text().splitlines() if line.startswith("! "))
        self.report.deaths.update({k: n - self.report.deaths[k] for k, n in lines.items()})
        self.report.not_reached = [
            f"{side} {kind}" for kind in self._kinds() for side in ("before", "after") if f"{side} {kind}" not in lines
        ]

    async def _submitted(self, engine: Engine) -> bool:
        try:
            await engine.submit(GraphSubmit(spec=self.demo), actor="test")
        except Conflict:  # it is being removed, and can be submitted again once it is gone
            return False
        return True

    async def _settled(self, engine: Engine) -> bool:
        wanted = sum(s.desired for g in (await engine.graphs()).items for s in g.services)
        found = await replicas(engine)
        return len(found) == wanted and all_ready(found)

    async def _check(self) -> None:
        """Take everything up, let it settle, and look."""
        async with self._engine() as engine:
            try:
                await until(engine, partial(self._submitted, engine), SETTLED_S)
                await engine.start_graph("default", self.demo.name, actor="test")
                await until(engine, partial(self._settled, engine), SETTLED_S)
            except TimeoutError:
                states = [f"{r.id} {r.state} ({r.reason}): {r.message}" for r in await replicas(engine)]
                self._found(f"not everything is ready after {SETTLED_S:.0f} s: {'; '.join(states)}")
                return
            found = await replicas(engine)
            self._found(list(evidence.doubled_or_orphaned(self.places, found)))
            runs = {r.id: engine.core.memory.replicas[r.id].run for r in found}
            for replica in found:
                record = read_run(self.places.replica_dir(replica.id), runs[replica.id])
                if record is None or record.pid != replica.pid:
                    self._found(f"{replica.id}: the engine says pid {replica.pid}, its shim wrote {record}")
            self._found(list(await evidence.event_gaps(engine)))
            self._found(list(evidence.exits_missing(self.places, runs)))
            holders = {r.id for r in found if r.graph == self.demo.name and r.service == "Back"}
            try:
                await until(engine, partial(self._claimed_by, engine, holders), SETTLED_S)
            except TimeoutError:
                self._found(f"GPU shares should be held by {sorted(holders)} alone: {await self._claims(engine)}")
            self._found(list(evidence.ticks_missing(self.places)))

    async def _claims(self, engine: Engine) -> Counter[str]:
        return Counter(claim.replica for gpu in await engine.gpus() for claim in gpu.claimed)

    async def _claimed_by(self, engine: Engine, holders: set[str]) -> bool:
        """Whether exactly these hold exactly one share each; releases may be under way for a moment."""
        return await self._claims(engine) == Counter(holders)

    async def _check_served(self, front: tuple[str, int | None]) -> None:
        """No request failed, each was counted once, and the frontend is the process that it was."""
        async with self._engine() as engine:
            await until(engine, partial(self._settled, engine), SETTLED_S)
            now = [(r.id, r.pid) for r in await replicas(engine, "Front") if r.graph == self.served.name]
            if now != [front]:
                self._found(f"the frontend was {front}, and is {now}")
        self._found([f"{failure}" for failure in self.report.answers.failures])
        if not self.report.answers.answered:
            self._found("no request was answered at all")
        deadline = time.monotonic() + 20
        while missing := list(evidence.counts_missing(self.places, self.report.answers.answered)):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.1)  # the last lines reach their files a moment after the answers
        self._found(missing)

    async def _take_down(self) -> None:
        """Remove everything: nothing is left, neither process nor claim."""
        async with self._engine() as engine:
            await engine.restart("default", self.demo.name, RestartRequest(), actor="test")
            for name in (self.demo.name, self.served.name):
                await engine.remove("default", name, actor="test")

            async def gone() -> bool:
                return not (await engine.graphs()).items and not any(gpu.claimed for gpu in await engine.gpus())

            try:
                await until(engine, gone, SETTLED_S)
            except TimeoutError:
                self._found(f"not everything is gone after {SETTLED_S:.0f} s: claims {await self._claims(engine)}")
            self._found(list(evidence.doubled_or_orphaned(self.places, await replicas(engine))))
            self.report.events = engine.core.feed.last_seq
