"""NVML through a library that stands in for the driver's: `DYNAMOD_TEST_NVML=<directory of libnvidia-ml.so.1>`.

The stand-in reads its devices from the file FAKE_NVML (`name;uuid;total MiB;used MiB;gpu %;memory %;°C;mW;bus` a
line) and processes from FAKE_NVML_PROCS (`gpu;pid;MiB`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from dynamod.core.gpu_health import DeviceReading, ProcessReading
from dynamod.drivers.identity import owner_of
from dynamod.drivers.simulated_gpus import SimulatedGpus

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
