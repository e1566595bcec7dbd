"""Graphs that something else schedules: the engine tells, follows and recovers; it starts and stops nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dynamod.core.errors import Conflict, Unavailable
from dynamod.drivers.base import Picture, Preview, Wanted
from dynamod.engine import Engine
from dynamod.schema import Graph, GraphState, GraphSubmit, Reason, Replica, ReplicaState
from dynamod.schema.graphs import RestartRequest, StopRequest
from tests.integration.engine.support import graph, service, where

WHO = "user:test"
NOW = datetime.now(UTC)


class Scheduler:
    """A backend that has at once what it is told, unless it refuses or is away. It outlives the engine."""

    name = "kubernetes"

    def __init__(self) -> None:
        self.has: Wanted | None = None
        self.told: list[Wanted] = []
        self.refuses: Exception | None = None
        self.away = False
        self.restarted: list[tuple[str | None, str | None]] = []
        self.taken_away = False
        self.changed = asyncio.Event()

    async def place(self, wanted: Wanted, before: Mapping[str, Any] | None) -> Wanted:
        return replace(wanted, options={**wanted.options, "namespace": "n"})

    async def preview(self, wanted: Wanted, *, away: bool = False) -> Preview:
        return Preview((), ("a note",), "kind: Nothing\n")

    async def bring(self, wanted: Wanted) -> int:
        if self.away:
            raise Unavailable("nobody answers")
        if self.refuses is not None:
            raise self.refuses
        self.told.append(wanted)
        written = int(wanted != self.has)
        self.has = wanted
        self.changed.set()
        return written

    async def follow(self, wanted: Callable[[], Wanted], tell: Callable[[Picture], None]) -> None:
        while True:
            if self.away:
                raise Unavailable("nobody answers")
            self.changed.clear()
            tell(self.picture(wanted()))
            await self.changed.wait()

    def picture(self, wanted: Wanted) -> Picture:
        if self.has is None:
            return Picture(astray="nothing is there")
        counts = self.has.counts if self.has.running else {}
        return Picture(
            tuple(pod(f"{name.lower()}-{n}", name) for name, count in counts.items() for n in range(count)),
            settled=True,
            astray="" if self.has == wanted else "something else is there",
        )

    async def restart(self, wanted: Wanted, service: str | None, replica: str | None) -> None:
        self.restarted.append((service, replica))

    async def take_away(self, wanted: Wanted) -> bool:
        self.taken_away = True
        return True

    async def forget(self, replica_id: str) -> None:
        return

    async def close(self) -> None:
        return


def pod(name: str, service: str) -> Replica:
    return Replica(
        id=name,
        project="",
        graph="",
        service=service,
        index=0,
        revision=0,
        driver="kubernetes",
        state=ReplicaState.READY,
        reason=Reason.PROBE_SUCCEEDED,
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
async def engine(tmp_path: Path, scheduler: Scheduler) -> AsyncIterator[Engine]:
    async with started(tmp_path, scheduler) as running:
        yield running


def started(tmp_path: Path, scheduler: Scheduler) -> Engine:
    class WithScheduler(Engine):
        def _kubernetes(self) -> Scheduler:
            return scheduler

    return WithScheduler(where(tmp_path))


def submission(tmp_path: Path, **backend: Any) -> GraphSubmit:
    spec = graph(tmp_path, service("Front", "Back"), service("Back", **backend))
    return GraphSubmit(spec=spec, driver="kubernetes", kubernetes={"image": "i"})


async def until(engine: Engine, scheduler: Scheduler, holds: Callable[[Graph], bool]) -> Graph:
    async with asyncio.timeout(30):
        while not holds(found := await engine.graph("default", "demo")):
            await asyncio.sleep(0.02)
    return found


async def ready(engine: Engine, scheduler: Scheduler) -> Graph:
    return await until(engine, scheduler, lambda g: g.state is GraphState.READY)


async def test_a_graph_is_told_once_and_followed(engine: Engine, scheduler: Scheduler, tmp_path: Path) -> None:
    await engine.submit(submission(tmp_path), actor=WHO)
    found = await ready(engine, scheduler)
    assert {s.name: s.ready for s in found.services} == {"Front": 1, "Back": 1}
    assert scheduler.told[0].options == {"image": "i", "namespace": "n"}
    await engine.scale("default", "demo", "Back", 3, actor=WHO)
    await until(engine, scheduler, lambda g: g.services[1].ready == 3 and g.state is GraphState.READY)
    assert [t.counts["Back"] for t in scheduler.told] == [1, 3]
    _, changed = await engine.submit(submission(tmp_path), actor=WHO)
    assert not changed


async def test_a_refusal_is_told_until_it_is_mended(engine: Engine, scheduler: Scheduler, tmp_path: Path) -> None:
    scheduler.refuses = Conflict("somebody has it")
    await engine.submit(submission(tmp_path), actor=WHO)
    failed = await until(engine, scheduler, lambda g: g.state is GraphState.FAILED)
    assert (failed.reason, failed.message) == (Reason.CONFLICT, "somebody has it")
    scheduler.refuses = None
    await ready(engine, scheduler)


async def test_the_last_picture_stays_while_nobody_answers(
    engine: Engine, scheduler: Scheduler, tmp_path: Path
) -> None:
    await engine.submit(submission(tmp_path), actor=WHO)
    await ready(engine, scheduler)
    scheduler.away = True
    scheduler.changed.set()
    lost = await until(engine, scheduler, lambda g: g.state is GraphState.DEGRADED)
    assert lost.message == "nobody answers"
    assert len((await engine.replicas("default", "demo")).items) == 2
    await engine.scale("default", "demo", "Back", 2, actor=WHO)
    scheduler.away = False
    await until(engine, scheduler, lambda g: g.state is GraphState.READY and g.services[1].ready == 2)


async def test_the_next_engine_finds_everything_as_wanted(tmp_path: Path, scheduler: Scheduler) -> None:
    async with started(tmp_path, scheduler) as engine:
        await engine.submit(submission(tmp_path), actor=WHO)
        await ready(engine, scheduler)
        before = (await engine.replicas("default", "demo")).items
    told = scheduler.told[-1]
    async with started(tmp_path, scheduler) as engine:
        await ready(engine, scheduler)
        assert (await engine.replicas("default", "demo")).items == before
    assert scheduler.told[-1] == told


async def test_what_somebody_changes_is_put_right(engine: Engine, scheduler: Scheduler, tmp_path: Path) -> None:
    await engine.submit(submission(tmp_path), actor=WHO)
    await ready(engine, scheduler)
    assert scheduler.has is not None
    scheduler.has = replace(scheduler.has, counts={"Front": 0, "Back": 0})
    scheduler.changed.set()
    await until(engine, scheduler, lambda g: len(scheduler.told) == 2)
    await until(engine, scheduler, lambda g: g.state is GraphState.READY and [s.ready for s in g.services] == [1, 1])


async def test_restart_stop_start_and_remove_are_the_backends(
    engine: Engine, scheduler: Scheduler, tmp_path: Path
) -> None:
    await engine.submit(submission(tmp_path), actor=WHO)
    await ready(engine, scheduler)
    await engine.restart("default", "demo", RestartRequest(service="Back"), actor=WHO)
    await engine.restart("default", "demo", RestartRequest(replica="front-0"), actor=WHO)
    assert scheduler.restarted == [("Back", None), (None, "front-0")]
    await engine.stop_graph("default", "demo", StopRequest(), actor=WHO)
    await until(engine, scheduler, lambda g: g.state is GraphState.STOPPED)
    assert scheduler.has is not None
    assert not scheduler.has.running
    await engine.start_graph("default", "demo", actor=WHO)
    await ready(engine, scheduler)
    await engine.remove("default", "demo", actor=WHO)
    async with asyncio.timeout(30):
        while (await engine.graphs()).items:
            await asyncio.sleep(0.02)
    assert scheduler.taken_away


async def test_a_plan_is_the_backends_too(engine: Engine, tmp_path: Path) -> None:
    plan = await engine.plan(submission(tmp_path), actor=WHO)
    assert (plan.notes, plan.manifests) == (["a note"], "kind: Nothing\n")
