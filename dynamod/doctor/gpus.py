"""GPUs: the driver, and what NVML says through it. A driver that hangs must not hang us."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from dynamod.doctor.findings import fail, ok, warn
from dynamod.drivers.nvml import GpuReader, NoGpus, open_nvml
from dynamod.schema.doctor import Finding

READ_TIMEOUT = 15.0
DRIVER = Path("/proc/driver/nvidia/version")


def driver_loaded(path: Path = DRIVER) -> bool:
    """An NVIDIA kernel driver is there, or its devices are (in a container the first may be hidden)."""
    return path.exists() or Path("/dev/nvidiactl").exists()


def check_gpus(
    environ: Mapping[str, str],
    *,
    reader: GpuReader | None = None,
    loaded: bool | None = None,
    timeout: float | None = None,
) -> Finding:
    """The devices can be read. `reader` and `loaded`: those of this machine unless given."""
    if spec := environ.get("DYNAMOD_GPUS"):
        return ok("gpus", f"simulated: DYNAMOD_GPUS is {spec}")
    loaded = driver_loaded() if loaded is None else loaded
    found: list[Finding] = []
    reading = threading.Thread(target=lambda: found.append(_read(reader, loaded)), daemon=True)
    reading.start()
    reading.join(READ_TIMEOUT if timeout is None else timeout)
    if not found:
        return fail("gpus", "the driver does not answer", "see dmesg for Xid errors; reload the driver or reboot")
    return found[0]


def _read(reader: GpuReader | None, loaded: bool) -> Finding:
    reader = open_nvml() if reader is None else reader
    if isinstance(reader, NoGpus):
        if loaded:
            return warn("gpus", "a driver is loaded, but NVML cannot be used", "pip install 'dynamod[gpu]'")
        return ok("gpus", "none: no NVIDIA driver. DYNAMOD_GPUS=8xH100-80GB simulates some")
    try:
        devices = reader.read()
    except OSError as error:
        return fail("gpus", str(error), "run nvidia-smi; driver and kernel module must be of one version")
    faults = [f"device {device.index}: {device.fault}" for device in devices if device.fault]
    if faults:
        return fail("gpus", "; ".join(faults), "see dmesg for Xid errors; a device that fell off needs a reset")
    names = ", ".join(f"{device.index} {device.name}" for device in devices)
    return ok("gpus", names) if devices else warn("gpus", "the driver knows no device", "run nvidia-smi")
