"""An inherited CUDA_VISIBLE_DEVICES is the pool: devices outside of it are not ours to give."""

from __future__ import annotations

from collections.abc import Sequence

from dynamod.core.gpu_health import DeviceReading


def pool(readings: Sequence[DeviceReading], mask: str | None) -> list[DeviceReading]:
    """The devices that `mask` (indices or UUID prefixes, comma-separated; None: all) lets through.

    As CUDA does it, everything from the first unknown entry on is ignored; an empty mask hides all.
    """
    if mask is None:
        return list(readings)
    chosen: list[DeviceReading] = []
    for entry in (part.strip() for part in mask.split(",")):
        if entry.isdigit():
            found = [reading for reading in readings if reading.index == int(entry)]
        else:
            found = [reading for reading in readings if entry and reading.uuid.startswith(entry)]
        if len(found) != 1 or found[0] in chosen:
            break
        chosen += found
    return sorted(chosen, key=lambda reading: reading.index)
