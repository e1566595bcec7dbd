"""Prefixes without events: what a worker's cache holds, reckoned from what was routed there.

An engine keeps the blocks of running requests, and of ended ones as many as fit beside them: what was used least
recently goes first, the end of a prompt before its beginning. The same is done here for each worker, within the
number of blocks that it says it has; where it does not say, an ended prompt is forgotten after `ttl` seconds.

When an engine reports how much of a prompt it had cached, and that is less than was reckoned, the missing
blocks were evicted, and with them everything that was used less recently: it is dropped at once, and what is left is
taken for all that fits, until an engine turns out to have had more than was reckoned. So the reckoning stays
close to the truth where the worker has other clients, or room for less than it says.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from math import inf

from dynamo.llm.kv.hashing import Hashes
from dynamo.llm.kv.index import Matches, PrefixIndex
from dynamo.llm.kv.options import DEFAULT_TTL
from dynamo.llm.kv.workers import Worker


class _Cache:
    """One worker's cache as far as it is known. `used`: blocks of running requests, with how many use each."""

    def __init__(self) -> None:
        self.used: dict[int, int] = {}
        self.idle: OrderedDict[int, float] = OrderedDict()
        """Block -> time of its last use, least recent first. Generated blocks, which nobody here can name, are
        negative numbers."""
        self.capacity: float = inf
        self.learned: float = inf
        """The same as answers have shown it."""

    def excess(self) -> int:
        """Idle blocks that do not fit beside those in use."""
        room = min(self.capacity, self.learned) - len(self.used)
        return min(max(len(self.idle) - int(room), 0), len(self.idle)) if room < inf else 0


class _Running:
    """A request's blocks, how many were taken to be cached, and when those that were idle had last been used."""

    def __init__(self, worker: Worker, keys: list[int], expected: int, last_used: list[float | None]) -> None:
        self.worker = worker
        self.keys = keys
        self.expected = expected
        self.last_used = last_used


class ApproxIndex:
    """A prefix index that is filled by routing decisions.

    Times come from the caller (any monotonic clock, in seconds).
    """

    def __init__(self, ttl: float = DEFAULT_TTL) -> None:
        if ttl <= 0:
            raise ValueError(f"ttl must be positive, got {ttl}")
        self.ttl = ttl
        self.index = PrefixIndex()
        self._caches: dict[Worker, _Cache] = {}
        self._running: dict[str, _Running] = {}
        self._unnamed = count(-1, -1)

    def set_capacity(self, worker: Worker, blocks: int | None) -> None:
        """How many blocks the worker's cache has; None: it does not say."""
        self._cache(worker).capacity = inf if blocks is None else blocks

    def routed(self, request_id: str, worker: Worker, hashes: Hashes, expected: int = 0) -> None:
        """A prompt with these sequence hashes went to `worker`; its blocks are in use until `finished`.

        `expected`: how many of them the worker was taken to have.
        """
        cache: _Cache = self._cache(worker)
        keys: list[int] = hashes.tolist()
        used, idle = cache.used, cache.idle
        self._running[request_id] = _Running(worker, keys, expected, [idle.pop(key, None) for key in keys])
        for key in keys:
            used[key] = used.get(key, 0) + 1
        self.index.store(worker, keys)
        self._trim(worker, cache)

    def first_token(self, request_id: str, cached_blocks: int) -> None:
        """The engine had `cached_blocks` of the prompt: more or less than was expected is a lesson."""
        running = self._running.get(request_id)
        if running is None:
            return
        cache = self._caches[running.worker]
        if cached_blocks > running.expected:
            cache.learned += cached_blocks - running.expected
        elif cached_blocks < running.expected and (missing := running.last_used[cached_blocks]) is not None:
            self._forget(running.worker, cache, before=missing)
            cache.learned = len(cache.used) + len(cache.idle)

    def finished(self, request_id: str, generated_blocks: int, now: float) -> None:
        """The request has ended and has filled so many further blocks: they may be evicted from now on."""
        running = self._running.pop(request_id, None)
        if running is None:
            return
        cache = self._caches[running.worker]
        used, idle = cache.used, cache.idle
        for _ in range(generated_blocks):
            idle[next(self._unnamed)] = now
        for key in reversed(running.keys):
            users = used[key] - 1
            if users:
                used[key] = users
            else:
                del used[key]
                idle[key] = now
        self._trim(running.worker, cache)

    def match(self, hashes: Hashes, now: float) -> Matches:
        """How far each worker's cache covers a prompt of these sequence hashes."""
        for worker, cache in self._caches.items():
            if cache.capacity == inf:
                self._forget(worker, cache, before=now - self.ttl)
        return self.index.match(hashes)

    def remove_worker(self, worker: Worker) -> None:
        """Its cache and its requests are gone."""
        self._caches.pop(worker, None)
        for request_id in [name for name, running in self._running.items() if running.worker == worker]:
            del self._running[request_id]
        self.index.remove_worker(worker)

    def _cache(self, worker: Worker) -> _Cache:
        cache = self._caches.get(worker)
        if cache is None:
            cache = self._caches[worker] = _Cache()
        return cache

    def _trim(self, worker: Worker, cache: _Cache) -> None:
        """Evict what no longer fits."""
        gone = [cache.idle.popitem(last=False)[0] for _ in range(cache.excess())]
        if gone:
            self.index.remove(worker, gone)

    def _forget(self, worker: Worker, cache: _Cache, *, before: float) -> None:
        idle, gone = cache.idle, []
        while idle and next(iter(idle.values())) < before:
            gone.append(idle.popitem(last=False)[0])
        if gone:
            self.index.remove(worker, gone)
