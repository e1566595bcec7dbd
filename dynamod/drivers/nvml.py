"""GPUs as NVML sees them. Blocking calls into a driver that may hang: read them in a thread, with a time-out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from dynamod.core.gpu_health import DeviceReading, ProcessReading
from dynamod.core.xids import is_of_device
from dynamod.drivers.xids import XidMemory

EVENTS_AT_ONCE = 100
"""Xid errors taken in one reading: a device that floods must not keep it from its end."""


class GpuReader(Protocol):
    """Something that reads all devices of this machine, in the order of their indices.

    `changes`: whether a later reading may differ although we have done nothing.
    """

    simulated: bool
    changes: bool

    def read(self) -> list[DeviceReading]:
        """Raises OSError when the devices cannot be read."""
        ...


class NoGpus:
    """A machine without a driver."""

    simulated = False
    changes = False

    def read(self) -> list[DeviceReading]:
        return []


class Nvml:
    """NVML through nvidia-ml-py. Process ids are those of the host's namespace."""

    simulated = False
    changes = True

    def __init__(self, library: Any, xids: XidMemory) -> None:
        self._nvml = library
        self._started = False
        self._events: Any = None
        self._xids = xids
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
                self._events = self._listen(handles)
            passing = self._take_events()
            return [self._device(n, handle, uuids[n], passing) for n, handle in enumerate(handles)]
        except nvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error

    def _listen(self, handles: list[Any]) -> Any:
        """An event set that collects the Xid errors of all devices from now on; None where there are none to be had."""
        nvml = self._nvml
        events = self._maybe(nvml.nvmlEventSetCreate)
        for handle in handles if events is not None else ():
            supported = self._maybe(nvml.nvmlDeviceGetSupportedEventTypes, handle) or 0
            if supported & nvml.nvmlEventTypeXidCriticalError:
                self._maybe(nvml.nvmlDeviceRegisterEvents, handle, nvml.nvmlEventTypeXidCriticalError, events)
        return events

    def _take_events(self) -> dict[str, list[int]]:
        """Take what the event set has collected. Errors of devices are remembered, those of programs returned."""
        nvml = self._nvml
        passing: dict[str, list[int]] = {}
        for _ in range(EVENTS_AT_ONCE if self._events is not None else 0):
            event = self._maybe(nvml.nvmlEventSetWait_v2, self._events, 0)
            if event is None:  # a time-out: there is no other
                break
            uuid = _text(self._maybe(nvml.nvmlDeviceGetUUID, event.device) or "")
            if event.eventType == nvml.nvmlEventTypeXidCriticalError:
                if is_of_device(event.eventData):
                    self._xids.add(uuid, event.eventData)
                else:
                    passing.setdefault(uuid, []).append(event.eventData)
        return passing

    def _device(self, index: int, handle: Any, uuid: str, passing: dict[str, list[int]]) -> DeviceReading:
        nvml = self._nvml
        xids = tuple(dict.fromkeys((*self._xids.of(uuid), *passing.get(uuid, ()))))
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError as error:
            return DeviceReading(uuid=uuid, index=index, name="", memory_total=0, fault=str(error), xids=xids)
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
            xids=xids,
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


def open_nvml(xids_file: Path | None = None) -> GpuReader:
    """NVML where its binding and the driver's library are there, else no devices. `xids_file` keeps Xid errors."""
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
    return Nvml(pynvml, XidMemory(xids_file))


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
