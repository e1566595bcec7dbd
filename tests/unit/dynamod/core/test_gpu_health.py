from __future__ import annotations

from msgspec.structs import replace

from dynamod.core.gpu_health import DeviceReading, ProcessReading, assess
from dynamod.core.gpu_mask import pool
from dynamod.core.records import ClaimRecord

GIB = 1 << 30


def device(n: int = 0, used: float = 0.0, *processes: tuple[int, float], fault: str = "") -> DeviceReading:
    return DeviceReading(
        uuid=f"GPU-{n}a",
        index=n,
        name="H100",
        memory_total=80 * GIB,
        memory_used=int(used * GIB),
        processes=tuple(ProcessReading(pid, int(size * GIB)) for pid, size in processes),
        fault=fault,
    )


def claim(replica: str, share: float = 1.0, *, n: int = 0, releasing: bool = False) -> ClaimRecord:
    return ClaimRecord(
        uuid=f"GPU-{n}a", slot=0, index=n, share=share, replica_id=replica, releasing=releasing, created_at=0.0
    )


def test_a_foreign_process_blocks_a_device() -> None:
    verdict = assess([device(0, 5, (7, 4.5))], [], {7: None})
    assert verdict.devices[0].blocked == "foreign: process 7 holds 4.5 GiB"


def test_our_own_process_on_our_own_device_is_fine() -> None:
    verdict = assess([device(0, 5, (7, 4.5))], [claim("a")], {7: "a"})
    assert not verdict.devices[0].blocked
    assert verdict.conditions["GPU-0a"] == ()


def test_a_device_is_freed_only_once_its_memory_is() -> None:
    releasing = claim("a", releasing=True)
    held = assess([device(0, 40, (7, 39.0))], [releasing], {7: "a"})
    assert held.freed == ()
    assert "leaked: process 7 of the ended replica a still holds 39.0 GiB" in held.conditions["GPU-0a"]
    unexplained = assess([device(0, 40)], [releasing], {})
    assert unexplained.freed == ()
    assert unexplained.devices[0].blocked == "leaked: 40.0 GiB still held after a ended"
    assert assess([device(0, 0.5)], [releasing], {}).freed == (releasing,)


def test_a_share_is_freed_when_its_processes_are_gone() -> None:
    releasing, staying = claim("a", 0.5, releasing=True), claim("b", 0.5)
    verdict = assess([device(0, 30, (8, 30.0))], [releasing, staying], {8: "b"})
    assert verdict.freed == (releasing,)


def test_an_over_budget_share_is_told_of() -> None:
    verdict = assess([device(0, 60, (8, 60.0))], [claim("b", 0.5)], {8: "b"})
    assert verdict.conditions["GPU-0a"] == ("over budget: b holds 60.0 GiB, its share is 40.0 GiB",)


def test_a_fault_blocks() -> None:
    assert assess([device(0, fault="GPU is lost")], [], {}).devices[0].blocked == "faulty: GPU is lost"


def test_memory_that_nobody_explains_blocks() -> None:
    assert "held by no process that can be seen" in assess([device(0, 12)], [], {}).devices[0].blocked


def test_the_mask_is_the_pool() -> None:
    readings = [device(n) for n in range(4)]

    def chosen(mask: str | None) -> list[int]:
        return [reading.index for reading in pool(readings, mask)]

    assert chosen(None) == [0, 1, 2, 3]
    assert chosen("") == []
    assert chosen("-1") == []
    assert chosen("3,1") == [1, 3]
    assert chosen("GPU-2a,0") == [0, 2]
    assert chosen("0,9,1") == [0]
    assert chosen("GPU-") == []


def test_an_xid_of_the_device_blocks_it_and_one_of_a_program_is_told_of() -> None:
    broken = replace(device(0), xids=(79,))
    verdict = assess([broken, replace(device(1), xids=(31,))], [], {})
    assert [d.blocked for d in verdict.devices] == ["xid 79: the GPU has fallen off the bus", ""]
    assert [d.faulty for d in verdict.devices] == [True, False]
    assert verdict.conditions["GPU-1a"] == ("xid 31: memory page fault",)
    unknown = assess([replace(device(0), xids=(9999,))], [], {}).devices[0]
    assert unknown.blocked.startswith("xid 9999")
