"""Collects every replica's metrics: one stream each, into memory for what is now and into a file for history."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from dynamo.runtime.status import Address
from dynamod.observe.followers import Followers
from dynamod.observe.metrics.file import MetricsFile, tier_for
from dynamod.observe.metrics.query import Grouping, check_range, grid, to_series
from dynamod.observe.metrics.rates import RecentValues, service_rates
from dynamod.observe.metrics.samples import ReplicaSamples, SeriesKey
from dynamod.observe.metrics.store import MetricStore, Owner, Point
from dynamod.observe.presence import Presence
from dynamod.schema import MetricSample, Series, ServiceRates

OpenStream = Callable[[Address], AsyncIterator[dict[str, Any]]]
"""Opens the metrics stream of the process at an address."""

FLUSH_S = 5.0
PRUNE_S = 60.0

_log = logging.getLogger(__name__)


@dataclass
class _Followed:
    """One replica while its stream is open."""

    owner: Owner
    samples: ReplicaSamples = field(default_factory=ReplicaSamples)
    recent: RecentValues = field(default_factory=RecentValues)


class MetricsCollector:
    """Start it with `run` in a task of the owner; queries work while it runs."""

    def __init__(self, file: MetricsFile, presence: Presence, open_stream: OpenStream) -> None:
        self._file = file
        self._presence = presence
        self._open_stream = open_stream
        self._store: MetricStore | None = None
        self._pending: list[Point] = []
        self._followed: dict[str, _Followed] = {}
        self._streams: Followers[Owner, Address] = Followers(self._follow)

    async def run(self) -> None:
        """Collect until cancelled; what was collected is written before this returns."""
        await self._file.run(self._open)
        self._presence.on_change(self._reconcile)
        self._reconcile()
        pruned = 0.0
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                try:
                    await self._flush()
                    if time.monotonic() - pruned > PRUNE_S:
                        pruned = time.monotonic()
                        await self._file.run(lambda _: self._opened().prune(time.time()))
                except sqlite3.Error as error:
                    _log.warning("metrics are not written: %s", error)
        finally:
            await self._streams.close()
            await asyncio.shield(self._write_last())

    def rates(self, graph: str, *, service: str | None = None) -> list[ServiceRates]:
        """Each service and each replica of it, as of now."""
        by_service: dict[str, list[_Followed]] = {}
        for followed in self._of(graph):
            if service is None or followed.owner.service == service:
                by_service.setdefault(followed.owner.service, []).append(followed)
        now = time.time()
        answer: list[ServiceRates] = []
        for name, members in sorted(by_service.items()):
            bounds = {key[0]: value for member in members for key, value in member.samples.bounds.items()}
            answer.append(service_rates(name, [member.recent for member in members], bounds, now))
            answer.extend(
                service_rates(name, [member.recent], bounds, now, replica=member.owner.replica)
                for member in sorted(members, key=lambda member: member.owner.replica)
            )
        return answer

    def latest(self, graph: str) -> list[tuple[Owner, ReplicaSamples]]:
        """The latest samples of every replica that is followed."""
        return [(followed.owner, followed.samples) for followed in self._of(graph)]

    def latest_samples(self, graph: str, name: str) -> list[MetricSample]:
        """The latest values of one metric (not of histograms)."""
        return [
            MetricSample(
                t=samples.t,
                graph=graph,
                service=owner.service,
                replica=owner.replica,
                name=name,
                labels=dict(labels),
                value=value,
            )
            for owner, samples in self.latest(graph)
            for (found, labels), value in samples.latest.items()
            if found == name and not isinstance(value, tuple)
        ]

    @property
    def following(self) -> int:
        """How many replicas' streams are open now."""
        return len(self._followed)

    async def names(self, graph: str) -> list[str]:
        await self._flush()
        return await self._file.run(lambda _: self._opened().names(graph))

    async def series(
        self,
        graph: str,
        name: str,
        *,
        since: float,
        until: float,
        step: float,
        service: str | None = None,
        replica: str | None = None,
        by: Grouping = "replica",
    ) -> list[Series]:
        """One metric over time.

        Raises:
            Invalid: a range the wrong way round, or one with too many steps.
        """
        check_range(since, until, step)
        await self._flush()

        def read(_: sqlite3.Connection) -> list[Series]:
            store = self._opened()
            steps = grid(since, until, step)
            tier = tier_for(since, step, time.time())
            found = store.find(graph, name, service=service, replica=replica)
            return to_series([(info, store.points(info.id, tier, since - step, until)) for info in found], steps, by)

        return await self._file.run(read)

    async def _follow(self, owner: Owner, address: Address) -> None:
        followed = _Followed(owner)
        try:
            async with aclosing(self._open_stream(address)) as messages:  # type: ignore[type-var]
                async for message in messages:
                    self._take(followed, message)
        finally:
            if self._followed.pop(owner.replica, None) is not None:
                self._end(followed)

    def _take(self, followed: _Followed, message: dict[str, Any]) -> None:
        changed = followed.samples.apply(message)
        self._followed[followed.owner.replica] = followed
        for key, begun in changed.items():
            self._note(followed, key, begun=begun)

    def _note(self, followed: _Followed, key: SeriesKey, *, begun: bool) -> None:
        """Remember one change. A counter that has just begun did so at zero, a moment ago."""
        samples, owner = followed.samples, followed.owner
        value, kind = samples.latest[key], samples.kinds[key]
        from_zero = begun and kind != "gauge"
        followed.recent.note(key, samples.t, value, from_zero=from_zero)
        bounds = samples.bounds.get(key, ())
        if from_zero:
            zero = tuple(0.0 for _ in value) if isinstance(value, tuple) else 0.0
            self._pending.append(Point(owner, key, samples.t - 1.0, zero, kind, bounds))
        self._pending.append(Point(owner, key, samples.t, value, kind, bounds))

    def _end(self, followed: _Followed) -> None:
        """Nobody knows the values of a replica that is gone; the end stands a second after its last ones."""
        at = time.time() + 1.0
        for key in followed.samples.latest:
            self._pending.append(Point(followed.owner, key, at, None, followed.samples.kinds[key]))

    def _of(self, graph: str) -> list[_Followed]:
        return [followed for followed in self._followed.values() if followed.owner.graph == graph]

    def _reconcile(self) -> None:
        self._streams.want(
            {
                Owner(present.scope, present.status.service, replica_id): present.status.address
                for replica_id, present in self._presence.replicas.items()
                if present.status.address != Address()
            }
        )

    async def _flush(self) -> None:
        points, self._pending = self._pending, []
        if points:
            await self._file.run(lambda _: self._opened().write(points))

    def _open(self, database: sqlite3.Connection) -> None:
        self._store = MetricStore(database)
        self._store.mark_interrupted()

    def _opened(self) -> MetricStore:
        assert self._store is not None, "the collector is not running"
        return self._store

    async def _write_last(self) -> None:
        try:
            await self._flush()
        except sqlite3.Error as error:
            _log.warning("the last metrics are not written: %s", error)
