"""What users rely on from a graph, wherever it runs: as processes, as containers, or on a cluster.

`make test-docker` runs it on containers, `make test-kube` on a real cluster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from dynamod.schema import GraphState, Reason, ReplicaState, locations
from dynamod.schema.graphs import RestartRequest, RollbackRequest, StopRequest
from tests.conformance.graphs import NAME, Place, hello
from tests.conformance.running import DEADLINE_S, WHO, Running, answer

SERVICES = ("Backend", "Frontend", "Middle")

pytestmark = [
    pytest.mark.timeout(400),
    # Docker's SDK leaves the sockets of streams that ended to the garbage collector; so does the HTTP client of
    # clusters with a connection that is given up while it is made.
    pytest.mark.filterwarnings("ignore:unclosed (<socket|transport).*:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in.*:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
async def running(place: Place, tmp_path: Path) -> AsyncIterator[Running]:
    async with Running(tmp_path, place) as made:
        yield made
        if not place.slow_to_clean:
            await made.removed()
            assert place.leftovers() == []


async def test_a_graph_answers_scales_and_is_told_the_same_twice(running: Running) -> None:
    await running.submit(hello())
    replicas = await running.settled()
    assert sorted(r.service for r in replicas) == sorted(SERVICES)
    assert all(r.index == 1 and r.revision == 1 for r in replicas)
    assert await answer(await running.graph()) == "Frontend: Middle: Backend: a-mid-back"

    _, changed = await running.submit(hello())
    assert not changed

    await running.engine.scale("default", NAME, "Backend", 2, actor=WHO)
    replicas = await running.until(lambda g, rs: sum(r.state is ReplicaState.READY for r in rs) == 4)
    assert sorted(r.index for r in replicas if r.service == "Backend") == [1, 2]
    await running.engine.scale("default", NAME, "Backend", 1, actor=WHO)
    await running.until(lambda g, rs: len(rs) == 3 and g.state is GraphState.READY)


async def test_a_killed_replica_comes_back_and_says_how_it_ended(running: Running) -> None:
    await running.submit(hello())
    before = await running.settled()
    victim = next(r for r in before if r.service == "Backend")
    await running.place.kill(victim)
    after = await running.until(
        lambda g, rs: (
            g.state is GraphState.READY and any(r.service == "Backend" and r.last_exit is not None for r in rs)
        )
    )
    replica = next(r for r in after if r.service == "Backend")
    assert replica.id == victim.id
    assert replica.restarts == 1
    assert replica.last_exit is not None
    assert (replica.last_exit.signal, replica.last_exit.reason) == ("SIGKILL", Reason.KILLED_BY_SIGNAL)


async def test_the_output_of_replicas_is_kept(running: Running) -> None:
    await running.submit(hello())
    replicas = await running.settled()
    for replica in replicas:
        deadline = time.monotonic() + DEADLINE_S
        while not any(f"{replica.service} is up" in line for line in (await running.engine.why(replica.id)).log_tail):
            assert time.monotonic() < deadline, await running.engine.why(replica.id)
            await asyncio.sleep(0.1)


async def test_a_restarted_engine_finds_the_same_replicas(running: Running) -> None:
    await running.submit(hello())
    before = {r.id: (r.container, r.pid) for r in await running.settled()}
    await running.restarted()
    after = await running.settled()
    assert {r.id: (r.container, r.pid) for r in after} == before
    assert await answer(await running.graph()) == "Frontend: Middle: Backend: a-mid-back"


async def test_revisions_roll_out_and_back(running: Running) -> None:
    await running.submit(hello())
    await running.settled()
    other = replace(hello(), config={"Middle": {"message": "other"}})
    middle = replace(other.service("Middle"), config={"message": "other"})
    other = replace(other, services=tuple(middle if s.name == "Middle" else s for s in other.services))
    await running.submit(other)
    await running.settled(2)
    await running.answers("Frontend: Middle: Backend: a-other-back")
    await running.engine.rollback("default", NAME, RollbackRequest(), actor=WHO)
    await running.settled(3)
    await running.answers("Frontend: Middle: Backend: a-mid-back")


async def test_a_graph_stops_and_starts_again(running: Running) -> None:
    await running.submit(hello())
    await running.settled()
    await running.engine.stop_graph("default", NAME, StopRequest(), actor=WHO)
    await running.until(lambda g, _: g.state is GraphState.STOPPED)
    await running.engine.start_graph("default", NAME, actor=WHO)
    await running.settled()
    assert await answer(await running.graph()) == "Frontend: Middle: Backend: a-mid-back"


async def test_a_restart_that_is_asked_for_replaces_what_runs(running: Running) -> None:
    await running.submit(hello())
    before = {r.service: (r.id, r.container, r.pid) for r in await running.settled()}
    await running.engine.restart("default", NAME, RestartRequest(service="Middle"), actor=WHO)
    after = await running.until(
        lambda g, rs: (
            g.state is GraphState.READY
            and len(rs) == 3
            and all((r.id, r.container, r.pid) != before["Middle"] for r in rs if r.service == "Middle")
        )
    )
    same = {r.service: (r.id, r.container, r.pid) for r in after if r.service != "Middle"}
    assert same == {name: which for name, which in before.items() if name != "Middle"}


async def test_remove_leaves_nothing(place: Place, tmp_path: Path) -> None:
    async with Running(tmp_path, place) as running:
        await running.submit(hello())
        replicas = await running.settled()
        await running.removed()
        assert place.leftovers() == []
        async with asyncio.timeout(DEADLINE_S):  # their output goes a moment after the graph
            while any(locations(tmp_path).replica_dir(replica.id).exists() for replica in replicas):
                await asyncio.sleep(0.05)
