"""Who can be chosen: a worker is one data-parallel rank of one instance; each gets a small slot number."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SlotArray = npt.NDArray[Any]
"""One value a slot; its length is a capacity, not the number of workers."""


def with_room(array: SlotArray, slot: int, fill: float = 0) -> SlotArray:
    """The array, or a longer copy of it that has an entry for `slot`; new entries are `fill`."""
    if slot < len(array):
        return array
    longer = np.full(max(2 * len(array), slot + 1), fill, array.dtype)
    longer[: len(array)] = array
    return longer


class Worker(NamedTuple):
    """`instance` is the instance id from discovery; most engines have the single rank 0."""

    instance: int
    dp_rank: int = 0

    @property
    def label(self) -> str:
        """The instance id in 16 hex digits as in discovery, with `.rank` for ranks above 0."""
        text = f"{self.instance:016x}"
        return f"{text}.{self.dp_rank}" if self.dp_rank else text


class WorkerTable:
    """Slots of known workers. Slots are small integers that are reused once their worker has gone."""

    def __init__(self) -> None:
        self._slots: dict[Worker, int] = {}
        self._workers: list[Worker | None] = []
        self._free: list[int] = []

    def add(self, worker: Worker) -> int:
        """The worker's slot, a new one if it had none."""
        slot = self._slots.get(worker)
        if slot is None:
            if self._free:
                slot = self._free.pop()
                self._workers[slot] = worker
            else:
                slot = len(self._workers)
                self._workers.append(worker)
            self._slots[worker] = slot
        return slot

    def remove(self, worker: Worker) -> None:
        slot = self._slots.pop(worker)
        self._workers[slot] = None
        self._free.append(slot)

    def slot(self, worker: Worker) -> int:
        """Raises KeyError for an unknown worker."""
        return self._slots[worker]

    def at(self, slot: int) -> Worker:
        worker = self._workers[slot]
        if worker is None:
            raise KeyError(slot)
        return worker

    def __contains__(self, worker: object) -> bool:
        return worker in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def capacity(self) -> int:
        """One more than the highest slot ever used."""
        return len(self._workers)

    def items(self) -> list[tuple[Worker, int]]:
        return list(self._slots.items())
