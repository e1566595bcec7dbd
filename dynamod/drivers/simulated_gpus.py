"""A GPU inventory without GPUs, labelled as simulated: `DYNAMOD_GPUS=8xH100-80GB`, or the path of a JSON file.

The file holds a list of devices: `[{"uuid", "index", "name", "memory_total", "numa_node", "links", …}, …]`, the
fields of `DeviceReading`; it is read anew each time, so that processes, faults and Xid errors can be played.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from msgspec.structs import replace

from dynamod.core.errors import Invalid
from dynamod.core.gpu_health import DeviceReading

VARIABLE = "DYNAMOD_GPUS"
_SHORT = re.compile(r"(?P<count>\d+)x(?P<name>[A-Za-z0-9 _.]+?)(-(?P<memory>\d+)\s*G(i?)B)?")
_DEFAULT_MEMORY = 80
_PER_NUMA_NODE = 4
_LINKED = ("A100", "H100", "H200", "B100", "B200", "GB200")


class SimulatedGpus:
    simulated = True

    def __init__(self, text: str) -> None:
        """Raises Invalid when `text` is neither the short form nor a readable file."""
        self._text = text
        self._file = None if _SHORT.fullmatch(text) else Path(text)
        self.changes = self._file is not None
        if self._file is not None:
            try:
                self.read()
            except OSError as error:
                raise Invalid(str(error), field=VARIABLE, remedy="write e.g. 8xH100-80GB, or a JSON file") from None

    def read(self) -> list[DeviceReading]:
        if self._file is None:
            return _devices(self._text)
        try:
            found = msgspec.json.decode(self._file.read_bytes(), type=list[DeviceReading])
        except (OSError, msgspec.DecodeError) as error:
            raise OSError(f"{self._file} describes no GPUs: {error}") from None
        return [replace(device, simulated=True) for device in found]


def _devices(text: str) -> list[DeviceReading]:
    match = _SHORT.fullmatch(text)
    if match is None:
        return []
    count, name = int(match["count"]), match["name"]
    uuids = [f"GPU-simulated-{n:04d}" for n in range(count)]
    memory = int(match["memory"] or _DEFAULT_MEMORY) << 30
    linked = name.upper().startswith(_LINKED)
    return [
        DeviceReading(
            uuid=uuid,
            index=n,
            name=name,
            memory_total=memory,
            memory_used=0,
            numa_node=n // _PER_NUMA_NODE,
            links={other: 1 for other in uuids if other != uuid} if linked else {},
            simulated=True,
        )
        for n, uuid in enumerate(uuids)
    ]
