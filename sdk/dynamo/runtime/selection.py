"""Which of several instances gets a request. Each policy is a function of the usable instances, in a stable order."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import xxhash

from dynamo.runtime.status import Instance

Load = Callable[[Instance], int]
"""Requests that this process has open at an instance."""


class Policy:
    """Chooses; one object per client, because some policies remember."""

    def choose(self, instances: Sequence[Instance]) -> Instance:
        raise NotImplementedError


class RandomChoice(Policy):
    def choose(self, instances: Sequence[Instance]) -> Instance:
        return instances[int(random.random() * len(instances))]


class RoundRobin(Policy):
    """In turn, starting anywhere, so that many young clients do not all begin at the first."""

    def __init__(self) -> None:
        self._next = random.randrange(1 << 16)

    def choose(self, instances: Sequence[Instance]) -> Instance:
        self._next += 1
        return instances[self._next % len(instances)]


class LeastLoaded(Policy):
    """The instance where this process has the fewest open requests; among equals, at random."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def choose(self, instances: Sequence[Instance]) -> Instance:
        loads = [self._load(instance) for instance in instances]
        least = min(loads)
        best = [instance for instance, load in zip(instances, loads, strict=True) if load == least]
        return best[int(random.random() * len(best))]


class Sticky(Policy):
    """The same key goes to the same instance as long as that is there; only the keys of a lost one move.

    Rendezvous hashing: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def choose(self, instances: Sequence[Instance]) -> Instance:
        return max(instances, key=lambda instance: xxhash.xxh3_64_intdigest(self._key.encode(), instance.instance_id))
