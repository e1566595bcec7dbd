"""GPU placement with a simulated inventory that a test can change: claims, masks, shortage, release, conditions."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dynamod.core.errors import GpuShortage, Invalid, Unavailable
from dynamod.core.gpu_health import DeviceReading
from dynamod.drivers.simulated_gpus import SimulatedGpus
from dynamod.engine import Engine, EngineOptions
from dynamod.schema import Action, Reason, Replica, ReplicaState, RestartRequest
from tests.integration.engine.support import (
    all_ready,
    graph,
    replicas,
    service,
    submission,
    until,
    until_replicas,
    until_state,
    where,
)

SHOW = {"BEFORE": "print('sees', os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ.get('CUDA_DEVICE_ORDER'))"}


def options(gpus: str, **environ: str) -> EngineOptions:
    base = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "DYN"))}
    return EngineOptions(environ={**base, "DYNAMOD_GPUS": gpus, **environ})


async def seen(engine: Engine, replica_id: str) -> str:
    return (await engine.why(replica_id)).log_tail[0]


async def test_each_worker_gets_its_own_and_others_see_none(tmp_path: Path) -> None:
    spec = graph(
        tmp_path,
        service("Front", "Big", "Small", envs=SHOW),
        service("Big", workers=2, gpu=2, envs=SHOW),
        service("Small", workers=2, gpu=0.5, envs=SHOW),
    )
    async with Engine(where(tmp_path), options=options("8xH100-80GB")) as engine:
        await engine.submit(submission(spec), actor="user:0")
        await until_state(engine, "demo", "ready")
        found = await replicas(engine)
        (front,) = [r for r in found if r.service == "Front"]
        big = [r for r in found if r.service == "Big"]
        small = [r for r in found if r.service == "Small"]
        assert await seen(engine, front.id) == "sees  PCI_BUS_ID"
        whole = [share.uuid for r in big for share in r.gpus]
        assert len(set(whole)) == 4
        assert await seen(engine, big[0].id) == f"sees {','.join(s.uuid for s in big[0].gpus)} PCI_BUS_ID"
        assert len({share.uuid for r in small for share in r.gpus}) == 1
        assert not {share.uuid for r in small for share in r.gpus} & set(whole)
        gpus = await engine.gpus()
        assert all(gpu.simulated for gpu in gpus)
        assert sum(len(gpu.claimed) for gpu in gpus) == 6
        assert {r for gpu in gpus for r in gpu.granted} == {r.id for r in big + small}
        assert any("linked to GPU" in line for line in (await engine.why(big[0].id)).placement)
        await engine.remove("default", "demo", actor="user:0")

        async def released() -> bool:
            return not any(gpu.claimed for gpu in await engine.gpus())

        await until(engine, released)
        actions = [e.action for e in (await engine.events(0, 1000)).items]
        assert actions.count(Action.GPU_CLAIMED) == actions.count(Action.GPU_RELEASED) == 6


async def test_too_few_is_an_error_that_says_what_is_missing(tmp_path: Path) -> None:
    spec = graph(tmp_path, service("Only", gpu=2, workers=2))
    async with Engine(where(tmp_path), options=options("8xH100", CUDA_VISIBLE_DEVICES="1,2,5")) as engine:
        assert [gpu.index for gpu in await engine.gpus()] == [1, 2, 5]
        with pytest.raises(GpuShortage, match=r"wants 4 GPUs in all: 2 GPUs wanted, 1 of 3 free"):
            await engine.submit(submission(spec), actor="user:0")
        assert not (await engine.graphs()).items
        await engine.submit(submission(graph(tmp_path, service("Only", gpu=2))), actor="user:0")
        await until_state(engine, "demo", "ready")
        with pytest.raises(GpuShortage):
            await engine.scale("default", "demo", "Only", 2, actor="user:0")
        await engine.stop(stop_graphs=True)


async def test_no_room_for_a_surge_means_stop_then_start(tmp_path: Path) -> None:
    async with Engine(where(tmp_path), options=options("2xH100")) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only", gpu=2))), actor="user:0")
        await until_state(engine, "demo", "ready")
        changed = submission(graph(tmp_path, service("Only", gpu=2, envs={"NEW": "1"})))
        plan = await engine.plan(changed, actor="user:0")
        assert plan.strategy == "stop_then_start"
        assert "2 GPUs wanted, 0 of 2 free" in plan.operations[0].cause
        await engine.apply(plan.id, actor="user:0")
        await until_replicas(engine, lambda rs: len(rs) == 1 and rs[0].revision == 2 and all_ready(rs))
        await engine.stop(stop_graphs=True)


async def test_memory_that_stays_held_keeps_the_device_out_of_the_pool(tmp_path: Path) -> None:
    inventory = tmp_path / "gpus.json"

    def write(**fields: Any) -> None:
        device: Mapping[str, Any] = {"uuid": "GPU-a", "index": 0, "name": "H100", "memory_total": 80 << 30, **fields}
        inventory.write_bytes(msgspec.json.encode([device]))

    write(memory_used=0)
    async with Engine(where(tmp_path), options=options(str(inventory))) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only", gpu=1))), actor="user:0")
        await until_state(engine, "demo", "ready")
        write(memory_used=70 << 30)
        await engine.remove("default", "demo", actor="user:0")
        await until(engine, lambda: has_condition(engine, "still held after"))
        with pytest.raises(GpuShortage, match="0 of 1 free"):
            await engine.submit(submission(graph(tmp_path, service("Only", gpu=1), name="next")), actor="user:0")
        write(memory_used=0)
        await until(engine, lambda: is_free(engine))
        await engine.submit(submission(graph(tmp_path, service("Only", gpu=1), name="next")), actor="user:0")
        await until_state(engine, "next", "ready")
        await engine.stop(stop_graphs=True)


async def test_a_device_with_an_xid_error_is_given_to_nobody_and_left_at_the_next_start(tmp_path: Path) -> None:
    inventory = tmp_path / "gpus.json"

    def write(*xids: int) -> None:
        devices = [
            {"uuid": f"GPU-{n}", "index": n, "name": "H100", "memory_total": 80 << 30, "memory_used": 0} for n in (0, 1)
        ]
        inventory.write_bytes(msgspec.json.encode([{**devices[0], "xids": xids}, devices[1]]))

    write()
    async with Engine(where(tmp_path), options=options(str(inventory))) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only", gpu=1))), actor="user:0")
        await until_state(engine, "demo", "ready")
        (one,) = await replicas(engine)
        assert [share.index for share in one.gpus] == [0]
        write(79)
        await until(engine, lambda: has_condition(engine, "xid 79: the GPU has fallen off the bus"))
        assert all(gpu.simulated for gpu in await engine.gpus())
        told = [e for e in (await engine.events(0, 1000)).items if e.action is Action.GPU_CONDITION]
        assert [(e.replica, e.graph) for e in told] == [(one.id, "demo")]
        assert "xid 79" in "".join(e.message for e in (await engine.why(one.id)).events)
        with pytest.raises(GpuShortage, match="xid 79"):
            await engine.submit(submission(graph(tmp_path, service("Only", gpu=2), name="next")), actor="user:0")
        await engine.restart("default", "demo", RestartRequest(replica=one.id), actor="user:0")
        (moved,) = await until_replicas(engine, lambda found: all_ready(found) and found[0].pid != one.pid)
        assert [share.index for share in moved.gpus] == [1]
        await engine.stop(stop_graphs=True)


async def has_condition(engine: Engine, text: str) -> bool:
    return any(text in condition for gpu in await engine.gpus() for condition in gpu.conditions)


async def is_free(engine: Engine) -> bool:
    return not any(gpu.claimed for gpu in await engine.gpus())


async def test_claims_survive_a_restart_and_a_crash_keeps_the_devices(tmp_path: Path) -> None:
    async with Engine(where(tmp_path), options=options("4xH100")) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only", gpu=1, workers=2))), actor="user:0")
        await until_state(engine, "demo", "ready")
        before = {r.id: r.gpus for r in await replicas(engine)}
    async with Engine(where(tmp_path), options=options("4xH100")) as engine:
        found = await until_replicas(engine, all_ready)
        assert {r.id: r.gpus for r in found} == before
        os.kill(found[0].pid or 0, 9)
        after = await until_replicas(engine, lambda rs: all_ready(rs) and {r.pid for r in rs} != {r.pid for r in found})
        assert {r.id: r.gpus for r in after} == before
        await engine.stop(stop_graphs=True)


async def test_allocation_can_be_switched_off(tmp_path: Path) -> None:
    off = options("1xH100", DYN_DISABLE_AUTO_GPU_ALLOCATION="1", CUDA_VISIBLE_DEVICES="6")
    async with Engine(where(tmp_path), options=off) as engine:
        await engine.submit(submission(graph(tmp_path, service("Only", gpu=4, envs=SHOW))), actor="user:0")
        await until_state(engine, "demo", "ready")
        (replica,) = await replicas(engine)
        assert await seen(engine, replica.id) == "sees 6 None"
        assert replica.gpus == []
        await engine.stop(stop_graphs=True)


async def test_a_bad_simulation_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="8xH100-80GB"):
        await Engine(where(tmp_path), options=options("no such file")).start()


async def test_nothing_is_placed_before_the_inventory_is_read_and_a_driver_that_hangs_holds_up_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = graph(tmp_path, service("Gpu", gpu=1), service("Plain"))
    async with Engine(where(tmp_path), options=options("2xH100")) as engine:
        await engine.submit(submission(spec), actor="user:0")
        before = {
            r.service: r for r in await until_replicas(engine, lambda found: len(found) == 2 and all_ready(found))
        }
    for replica in before.values():
        assert replica.pid is not None
        os.kill(replica.pid, signal.SIGKILL)
    answering = threading.Event()
    read = SimulatedGpus.read

    def hang(reader: SimulatedGpus) -> list[DeviceReading]:
        answering.wait(60)
        return read(reader)

    monkeypatch.setattr(SimulatedGpus, "read", hang)
    again = replace(options("2xH100"), inventory_timeout=0.3)
    async with Engine(where(tmp_path), options=again) as engine:

        def plain_is_back_and_the_other_waits(found: list[Replica]) -> bool:
            states = {r.service: r for r in found}
            plain, waiting = states["Plain"], states["Gpu"]
            back = plain.state is ReplicaState.READY and plain.pid != before["Plain"].pid
            return back and waiting.reason is Reason.WAITING_FOR_INVENTORY and waiting.pid is None

        await until_replicas(engine, plain_is_back_and_the_other_waits)
        with pytest.raises(Unavailable, match="inventory cannot be read"):
            await engine.submit(submission(graph(tmp_path, service("More", gpu=1), name="more")), actor="user:0")
        answering.set()
        after = await until_replicas(engine, lambda found: len(found) == 2 and all_ready(found))
        shares = {r.service: [share.uuid for share in r.gpus] for r in after}
        assert shares["Gpu"] == [share.uuid for share in before["Gpu"].gpus]
        await engine.stop(stop_graphs=True)
