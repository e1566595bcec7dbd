"""NVML through a library that stands in for the driver's: `DYNAMOD_TEST_NVML=<directory of libnvidia-ml.so.1>`.

The stand-in reads its devices from the file FAKE_NVML (`name;uuid;total MiB;used MiB;gpu %;memory %;°C;mW;bus` a
line) and processes from FAKE_NVML_PROCS (`gpu;pid;MiB`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dynamod.core.gpu_health import DeviceReading, ProcessReading
from dynamod.drivers.identity import owner_of
from dynamod.drivers.nvml import Nvml
from dynamod.drivers.simulated_gpus import SimulatedGpus
from dynamod.drivers.xids import XidMemory

READ = (
    "import msgspec, sys; from dynamod.drivers.nvml import open_nvml\n"
    "sys.stdout.buffer.write(msgspec.json.encode(open_nvml().read()))"
)


def read(**environ: str) -> list[DeviceReading]:
    answer = subprocess.run(
        [sys.executable, "-c", READ], env={**os.environ, **environ}, check=True, capture_output=True, timeout=60
    )
    return msgspec.json.decode(answer.stdout, type=list[DeviceReading])


@pytest.mark.skipif("DYNAMOD_TEST_NVML" not in os.environ, reason="DYNAMOD_TEST_NVML names no stand-in library")
def test_devices_and_processes(tmp_path: Path) -> None:
    (tmp_path / "gpus").write_text(
        "NVIDIA H100 80GB HBM3;GPU-aaaa;81559;1200;35;10;41;212000;00000000:18:00.0\n"
        "NVIDIA H100 80GB HBM3;GPU-bbbb;81559;0;0;0;30;70000;00000000:2A:00.0\n"
    )
    (tmp_path / "processes").write_text("0;4242;1100\n")
    first, second = read(
        LD_LIBRARY_PATH=os.environ["DYNAMOD_TEST_NVML"],
        FAKE_NVML=str(tmp_path / "gpus"),
        FAKE_NVML_PROCS=str(tmp_path / "processes"),
    )
    assert (first.uuid, first.index, first.name) == ("GPU-aaaa", 0, "NVIDIA H100 80GB HBM3")
    assert (first.memory_total, first.memory_used) == (81559 << 20, 1200 << 20)
    assert (first.utilisation, first.temperature, first.power) == (0.35, 41, 212.0)
    assert first.processes == (ProcessReading(4242, 1100 << 20),)
    assert second.processes == ()
    assert not second.fault


def test_a_machine_without_a_driver_has_no_devices() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a driver")
    assert read(LD_LIBRARY_PATH="") == []


def test_the_short_form_of_a_simulation() -> None:
    devices = SimulatedGpus("8xH100-80GB").read()
    assert len(devices) == 8
    assert all(d.simulated and d.memory_total == 80 << 30 and len(d.links) == 7 for d in devices)
    assert [d.numa_node for d in devices] == [0] * 4 + [1] * 4
    (one,) = SimulatedGpus("1xL4-24GB").read()
    assert (one.name, one.memory_total, one.links) == ("L4", 24 << 30, {})


def test_processes_are_told_apart_by_their_environment() -> None:
    with subprocess.Popen(["sleep", "60"], env={"DYN_REPLICA_ID": "demo-a-1-xyz"}) as process:
        try:
            assert owner_of(process.pid) == "demo-a-1-xyz"
            assert owner_of(os.getpid()) is None
        finally:
            process.kill()
    assert owner_of(process.pid) is None


class Library:
    """NVML's functions as nvidia-ml-py has them, for as many devices as there are names, with a queue of Xid events."""

    class NVMLError(Exception):
        pass

    nvmlEventTypeXidCriticalError = 8
    NVML_TEMPERATURE_GPU = 0
    NVML_P2P_CAPS_INDEX_NVLINK = 1
    NVML_P2P_STATUS_OK = 0

    def __init__(self, *uuids: str, supported: int = 8) -> None:
        self.uuids = uuids
        self.supported = supported
        self.registered: list[str] = []
        self.events: list[tuple[str, int, int]] = []

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return len(self.uuids)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return self.uuids[index]

    def nvmlDeviceGetUUID(self, handle: str) -> bytes:
        return handle.encode()

    def nvmlDeviceGetMemoryInfo(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(total=80 << 30, used=0)

    def nvmlEventSetCreate(self) -> object:
        return object()

    def nvmlDeviceGetSupportedEventTypes(self, _: str) -> int:
        return self.supported

    def nvmlDeviceRegisterEvents(self, handle: str, types: int, _: object) -> None:
        assert types == self.nvmlEventTypeXidCriticalError
        self.registered.append(handle)

    def nvmlEventSetWait_v2(self, _: object, timeout: int) -> SimpleNamespace:
        assert timeout == 0, "a reading does not wait"
        if not self.events:
            raise self.NVMLError("Timeout")
        device, kind, data = self.events.pop(0)
        return SimpleNamespace(device=device, eventType=kind, eventData=data)

    def __getattr__(self, name: str) -> Any:
        def unsupported(*_: object) -> None:
            raise self.NVMLError(f"{name}: not supported")

        return unsupported


def xids(reader: Nvml) -> list[tuple[int, ...]]:
    return [device.xids for device in reader.read()]


def test_xid_errors_of_a_device_stay_and_those_of_a_program_pass(tmp_path: Path) -> None:
    library = Library("GPU-a", "GPU-b")
    reader = Nvml(library, XidMemory(tmp_path / "xids.json"))
    assert xids(reader) == [(), ()]
    assert library.registered == ["GPU-a", "GPU-b"]
    library.events = [("GPU-b", 8, 79), ("GPU-b", 8, 31), ("GPU-a", 8, 13), ("GPU-a", 1, 48)]
    assert xids(reader) == [(13,), (79, 31)]
    assert xids(reader) == [(), (79,)]
    again = Nvml(Library("GPU-a", "GPU-b"), XidMemory(tmp_path / "xids.json"))
    assert xids(again) == [(), (79,)], "the next daemon knows"


def test_xid_errors_before_the_machine_booted_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "xids.json"
    path.write_text('{"boot_id": "another", "xids": {"GPU-a": [79]}}')
    assert XidMemory(path).of("GPU-a") == ()
    path.write_text("{")
    assert XidMemory(path).of("GPU-a") == ()


def test_a_driver_without_xid_events_reads_as_before() -> None:
    library = Library("GPU-a", supported=0)
    assert xids(Nvml(library, XidMemory(None))) == [()]
    assert library.registered == []
