"""GPUs as NVML sees them. Blocking calls into a driver that may hang: read them in a thread, with a time-out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from dynamod.core.gpu_health import DeviceReading, ProcessReading


class GpuReader(Protocol):
    """Something that reads all devices of this machine, in the order of their indices."""

    simulated: bool

    def read(self) -> list[DeviceReading]:
        """Raises OSError when the devices cannot be read."""
        ...


class NoGpus:
    """A machine without a driver."""

    simulated = False

    def read(self) -> list[DeviceReading]:
        return []


class Nvml:
    """NVML through nvidia-ml-py. Process ids are those of the host's namespace."""

    simulated = False

    def __init__(self, library: Any) -> None:
        self._nvml = library
        self._started = False
        self._links: dict[str, dict[str, int]] = {}

    def read(self) -> list[DeviceReading]:
        nvml = self._nvml
        try:
            if not self._started:
                nvml.nvmlInit()
                self._started = True
            handles = [nvml.nvmlDeviceGetHandleByIndex(n) for n in range(nvml.nvmlDeviceGetCount())]
            uuids = [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
            if set(uuids) != set(self._links):
                self._links = self._topology(handles, uuids)
            return [self._device(n, handle, uuids[n]) for n, handle in enumerate(handles)]
        except nvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error

    def _device(self, index: int, handle: Any, uuid: str) -> DeviceReading:
        nvml = self._nvml
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError as error:
            return DeviceReading(uuid=uuid, index=index, name="", memory_total=0, fault=str(error))
        power = self._maybe(nvml.nvmlDeviceGetPowerUsage, handle)
        rates = self._maybe(nvml.nvmlDeviceGetUtilizationRates, handle)
        return DeviceReading(
            uuid=uuid,
            index=index,
            name=_text(self._maybe(nvml.nvmlDeviceGetName, handle) or ""),
            memory_total=int(memory.total),
            memory_used=int(memory.used),
            utilisation=None if rates is None else rates.gpu / 100,
            temperature=self._maybe(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power=None if power is None else power / 1000,
            numa_node=_numa_node(_text(getattr(self._maybe(nvml.nvmlDeviceGetPciInfo, handle), "busId", ""))),
            links=self._links.get(uuid, {}),
            processes=self._processes(handle),
        )

    def _processes(self, handle: Any) -> tuple[ProcessReading, ...]:
        nvml = self._nvml
        found: dict[int, int | None] = {}
        for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
            for process in self._maybe(ask, handle) or ():
                found[process.pid] = process.usedGpuMemory
        return tuple(ProcessReading(pid, memory) for pid, memory in sorted(found.items()))

    def _topology(self, handles: list[Any], uuids: list[str]) -> dict[str, dict[str, int]]:
        """Which devices reach each other over NVLink, directly or through a switch."""
        nvml = self._nvml
        links: dict[str, dict[str, int]] = {uuid: {} for uuid in uuids}
        for a, one in enumerate(handles):
            for b, other in enumerate(handles):
                if a == b:
                    continue
                status = self._maybe(nvml.nvmlDeviceGetP2PStatus, one, other, nvml.NVML_P2P_CAPS_INDEX_NVLINK)
                if status == nvml.NVML_P2P_STATUS_OK:
                    links[uuids[a]][uuids[b]] = 1
        return links

    def _maybe(self, ask: Any, *arguments: Any) -> Any:
        """A reading that not every device offers."""
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None


def open_nvml() -> GpuReader:
    """NVML where its binding and the driver's library are there, else no devices."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return NoGpus()
    try:
        pynvml.nvmlInit()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError_LibraryNotFound:
        return NoGpus()
    except pynvml.NVMLError:
        pass  # a driver that is there but fails is a fault to be told of, not an absence
    return Nvml(pynvml)


def _numa_node(bus: str) -> int | None:
    """From sysfs, by PCI address; NVML writes the domain with eight digits, the kernel with four."""
    if not bus:
        return None
    try:
        node = int(Path(f"/sys/bus/pci/devices/{bus[-12:].lower()}/numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
