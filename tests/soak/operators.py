"""What people and programs do with the daemon meanwhile: changes, builds, and followers that must miss nothing."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing, suppress
from dataclasses import replace as with_body
from typing import TypeVar

from msgspec.structs import replace

from dynamo_tui.client import calls, streams
from dynamo_tui.client.errors import ApiError, ClientError
from dynamo_tui.client.exchange import Call
from dynamod.schema import GraphSubmit
from dynamod.schema.observations import LogGap
from tests.soak.world import World
from tests.unit.dynamod.builds.making import make_archive

T = TypeVar("T")


class Operator:
    """Changes the side graph, and remembers what the daemon said yes to.

    `scale` is how many `Back` replicas must be there; None while an answer went astray.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.scale: int | None = 2
        self.builds: set[str] = set()
        self.unsure: set[str] = set()
        self._archive = b""

    async def work(self) -> None:
        acts = [self._scale, self._revise, self._restart, self._stop_and_start, self._look, self._wrong, self._build]
        while True:
            await self.world.calm.wait()
            await self.chance.choice(acts)()
            await asyncio.sleep(self.chance.uniform(0.2, 0.8))

    async def settle(self) -> None:
        """Bring the graph to what can be checked: running, at a known scale."""
        await self._until_done(calls.start("side"))
        await self._until_done(calls.scale("side", "Back", 2))
        self.scale = 2

    async def _until_done(self, call: Call[T]) -> T:
        while True:
            try:
                return await self.world.client.send(call)
            except ClientError:
                await asyncio.sleep(0.1)

    async def _send(self, what: str, call: Call[T]) -> T | None:
        """None when it failed; an answer that blames the daemon itself is a finding."""
        operations, report = self.world.report.operations, self.world.report
        try:
            answer = await self.world.client.send(call)
        except ApiError as error:
            operations[f"{what} refused"] += 1
            if error.status == 500:
                report.found(f"{what}: the daemon failed: {error}")
            return None
        except ClientError:
            operations[f"{what} unanswered"] += 1
            return None
        operations[what] += 1
        return answer

    async def _scale(self) -> None:
        wanted = self.chance.randrange(1, 5)
        self.scale = None
        if await self._send("scale", calls.scale("side", "Back", wanted)) is not None:
            self.scale = wanted

    async def _revise(self) -> None:
        spec = replace(self.world.side_spec, envs={"STEP": str(self.chance.randrange(1 << 30))})
        await self._send("submit", calls.submit(GraphSubmit(spec=spec)))

    async def _restart(self) -> None:
        await self._send("restart", calls.restart("side", service="Back"))

    async def _stop_and_start(self) -> None:
        await self._send("stop", calls.stop("side"))
        await asyncio.sleep(self.chance.uniform(0, 0.5))
        await self._send("start", calls.start("side"))

    async def _look(self) -> None:
        found = await self._send("list", calls.replicas())
        if found is not None and found.items:
            await self._send("why", calls.why(self.chance.choice(found.items).id))
        await self._send("metrics", calls.rates("chat"))
        await self._send("plan", calls.plan(GraphSubmit(spec=self.world.side_spec)))

    async def _wrong(self) -> None:
        for what, call in (
            ("scale of nothing", calls.scale("side", "Nobody", 3)),
            ("scale too far", calls.scale("side", "Back", 10**6)),
            ("impossible submit", calls.submit(GraphSubmit(spec=replace(self.world.side_spec, interpreter="/none")))),
        ):
            if await self._send(what, call) is not None:  # type: ignore[arg-type]
                self.world.report.found(f"{what} was accepted")

    def _archive_of(self, version: str) -> bytes:
        folder = self.world.directory / "builds"
        folder.mkdir(exist_ok=True)
        made = make_archive(folder, {"m.py": f"class A: ...  # {version}\n"}, version=version)
        data = made.read_bytes()
        made.unlink()
        return data

    async def _build(self) -> None:
        version = str(self.chance.randrange(1 << 40))
        tag = f"g:{version}"
        self.unsure.add(tag)
        upload = with_body(calls.upload_build(), body=await asyncio.to_thread(self._archive_of, version))
        if await self._send("build kept", upload) is None:
            return
        self.unsure.discard(tag)
        self.builds.add(tag)
        if len(self.builds) > 5:
            old = self.chance.choice(sorted(self.builds))
            self.builds.discard(old)
            self.unsure.add(old)
            if await self._send("build removed", calls.remove_build(old)) is not None:
                self.unsure.discard(old)


async def follow_events(world: World) -> None:
    """Every event once, in order, from the first on, over every death of the daemon."""
    expected = 1
    async with aclosing(world.client.follow(streams.events(after=0))) as events:
        async for event in events:
            if event.seq != expected:
                world.report.found(f"event {event.seq} came where {expected} was due")
            expected = event.seq + 1
            world.report.followed["events"] = event.seq


async def follow_logs(world: World) -> None:
    """Every line of every replica of `Back`, once, in order; gaps only where the daemon says so."""
    report = world.report
    while True:
        last: dict[str, int] = {}
        with suppress(ApiError):
            async with aclosing(world.client.follow(streams.logs("side", service="Back", tail=0))) as lines:
                async for line in lines:
                    if isinstance(line, LogGap):
                        report.followed["log gaps told"] += 1
                        last.clear()
                        continue
                    due = last.get(line.replica, line.line - 1) + 1
                    if line.line != due:
                        report.found(f"{line.replica}: line {line.line} came where {due} was due")
                    last[line.replica] = line.line
                    report.followed["log lines"] += 1
        report.followed["log follower begun anew"] += 1
        await asyncio.sleep(0.5)
