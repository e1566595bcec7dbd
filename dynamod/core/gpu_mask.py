"""What the environment leaves us of the GPUs. An inherited CUDA_VISIBLE_DEVICES is the pool: devices outside of it are
not ours to give; DYN_DISABLE_AUTO_GPU_ALLOCATION leaves devices and mask alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dynamod.core.gpu_health import DeviceReading


def may_allocate(environ: Mapping[str, str]) -> bool:
    """Whether devices are ours to give at all."""
    return environ.get("DYN_DISABLE_AUTO_GPU_ALLOCATION", "").lower() not in ("1", "true", "yes", "on")


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
