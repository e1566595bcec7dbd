"""Prefixes without events: what was routed to a worker is taken to be cached there for a while."""

from __future__ import annotations

from collections import deque

from dynamo.llm.kv.hashing import Hashes
from dynamo.llm.kv.index import Matches, PrefixIndex
from dynamo.llm.kv.workers import Worker

DEFAULT_TTL = 120.0
"""Seconds; as long as NVIDIA Dynamo's approximate index keeps an entry."""


class ApproxIndex:
    """A prefix index that is filled by routing decisions and forgets each `ttl` seconds after the last one.

    Times come from the caller (any monotonic clock, in seconds).
    """

    def __init__(self, ttl: float = DEFAULT_TTL) -> None:
        if ttl <= 0:
            raise ValueError(f"ttl must be positive, got {ttl}")
        self.ttl = ttl
        self.index = PrefixIndex()
        self._until: dict[Worker, dict[int, float]] = {}
        self._queue: deque[tuple[float, Worker, list[int]]] = deque()

    def routed(self, worker: Worker, hashes: Hashes, now: float) -> None:
        """A prompt with these sequence hashes went to `worker`."""
        keys: list[int] = hashes.tolist()
        until = now + self.ttl
        self._until.setdefault(worker, {}).update(dict.fromkeys(keys, until))
        self._queue.append((until, worker, keys))
        self.index.store(worker, keys)

    def match(self, hashes: Hashes, now: float) -> Matches:
        self.expire(now)
        return self.index.match(hashes)

    def expire(self, now: float) -> None:
        """Forget what nobody asked for during the last `ttl` seconds."""
        queue = self._queue
        while queue and queue[0][0] <= now:
            _, worker, keys = queue.popleft()
            until = self._until.get(worker)
            if until is None:
                continue
            gone = [key for key in keys if until.get(key, now + 1) <= now]
            for key in gone:
                del until[key]
            self.index.remove(worker, gone)

    def remove_worker(self, worker: Worker) -> None:
        self._until.pop(worker, None)
        self.index.remove_worker(worker)
