"""Follows every KV router's feed and keeps one picture per graph."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from dynamo.runtime.status import Instance
from dynamod.core.errors import SlowConsumer
from dynamod.observe.followers import Followers
from dynamod.observe.kv.history import KvHistory
from dynamod.observe.kv.picture import KvPicture
from dynamod.observe.kv.window import KEPT_S
from dynamod.observe.presence import Presence, PresentFeed
from dynamod.schema import KvDecision

OpenFeed = Callable[[Instance], AsyncIterator[tuple[bool, list[dict[str, Any]]]]]
"""Opens a router's feed: (is a snapshot, its entries), first a snapshot."""

SNAPSHOT_PERIOD_S = 1.0
COALESCE_S = 0.05
"""How long news is gathered before a watcher is woken: a busy router costs 20 wake-ups a second, not thousands."""
WRITE_S = 5.0
"""How long news is gathered before it is written to the history."""
MAX_WAITING = 2000
"""Decisions that may wait for one watcher before it is dropped."""

_log = logging.getLogger(__name__)


class KvWatcher:
    """Decisions as they are made, and at most once a second whether the picture has changed."""

    def __init__(self, picture: KvPicture) -> None:
        self._picture = picture
        self._waiting: list[KvDecision] = []
        self._news = asyncio.Event()
        self._news.set()
        self._overrun = False

    def put(self, decision: KvDecision | None) -> None:
        """Something changed; `decision` when it was one."""
        if decision is not None and len(self._waiting) < MAX_WAITING:
            self._waiting.append(decision)
        elif decision is not None:
            self._overrun = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[tuple[list[KvDecision], bool]]:
        """(new decisions, whether a new snapshot is due), when there is something.

        Raises:
            SlowConsumer: this watcher did not take its decisions in time.
        """
        told, due = -1, 0.0
        while True:
            stale = self._picture.changed != told
            try:
                async with asyncio.timeout(max(due - time.monotonic(), 0.0) if stale else None):
                    await self._news.wait()
                await asyncio.sleep(COALESCE_S)
            except TimeoutError:
                pass
            self._news.clear()
            if self._overrun:
                raise SlowConsumer(self._picture.last_seq)
            decisions, self._waiting = self._waiting, []
            snapshot = self._picture.changed != told and time.monotonic() >= due
            if snapshot:
                told, due = self._picture.changed, time.monotonic() + SNAPSHOT_PERIOD_S
            if decisions or snapshot:
                yield decisions, snapshot


class KvFeeds:
    """Start it with `run` in a task of the owner; `history` holds what its pictures have seen."""

    def __init__(self, presence: Presence, open_feed: OpenFeed, history: KvHistory) -> None:
        self._presence = presence
        self._open_feed = open_feed
        self.history = history
        self._news = asyncio.Event()
        self._pictures: dict[str, KvPicture] = {}
        self._watchers: dict[str, set[KvWatcher]] = {}
        self._feeds: Followers[str, PresentFeed] = Followers(self._follow)

    async def run(self) -> None:
        """Follow until cancelled; what was seen is written before this returns."""
        await self._remember()
        self._presence.on_change(self._reconcile)
        self._reconcile()
        try:
            while True:
                await self._news.wait()
                await asyncio.sleep(WRITE_S)
                self._news.clear()
                await self.write()
        finally:
            await self._feeds.close()
            await asyncio.shield(self.write())

    async def write(self) -> None:
        """Write to the history what is not yet in it."""
        unwritten = {graph: picture.take_unwritten() for graph, picture in self._pictures.items()}
        try:
            await self.history.add({graph: seconds for graph, seconds in unwritten.items() if seconds}, time.time())
        except sqlite3.Error as error:
            _log.warning("hit rates are not written: %s", error)

    def picture(self, graph: str) -> KvPicture:
        """The picture of a graph (`<project>/<graph>`); an empty one when it has no router."""
        known = self._pictures.get(graph)
        if known is None:
            name = graph.partition("/")[2]
            known = self._pictures[graph] = KvPicture(name, lambda worker: self._replica(graph, worker))
        return known

    async def forget(self, graph: str) -> None:
        """A graph was removed: a later one of its name starts with an empty picture and no history."""
        self._pictures.pop(graph, None)
        try:
            await self.history.forget(graph)
        except sqlite3.Error as error:
            _log.warning("hit rates of %s are not deleted: %s", graph, error)

    @contextmanager
    def watch(self, graph: str) -> Iterator[KvWatcher]:
        """A watcher of one graph for as long as the context lasts."""
        watcher = KvWatcher(self.picture(graph))
        watchers = self._watchers.setdefault(graph, set())
        watchers.add(watcher)
        try:
            yield watcher
        finally:
            watchers.discard(watcher)

    async def _follow(self, key: str, feed: PresentFeed) -> None:
        picture = self.picture(feed.scope)
        async with aclosing(self._open_feed(feed.instance)) as messages:  # type: ignore[type-var]
            async for is_snapshot, entries in messages:
                if is_snapshot:
                    picture.restart()
                for entry in entries:
                    self._take(picture, key, feed.scope, entry, repeated=is_snapshot)

    def _take(self, picture: KvPicture, source: str, graph: str, entry: dict[str, Any], *, repeated: bool) -> None:
        try:
            decision = picture.apply(entry, time.time(), source, repeated=repeated)
        except ValueError as error:
            _log.warning("%s: %s", graph, error)
            return
        for watcher in self._watchers.get(graph, ()):
            watcher.put(decision)
        self._news.set()

    async def _remember(self) -> None:
        """Take up what an earlier daemon has seen."""
        try:
            past = await self.history.recent(time.time(), KEPT_S)
        except sqlite3.Error as error:
            _log.warning("earlier hit rates cannot be read: %s", error)
            return
        for graph, (seconds, written_until) in past.items():
            self.picture(graph).remember(seconds, written_until)

    def _reconcile(self) -> None:
        self._feeds.want(self._presence.feeds)

    def _replica(self, graph: str, worker: str) -> str | None:
        try:
            instance_id = int(worker.partition(".")[0], 16)  # without the rank of a data-parallel worker
        except ValueError:
            return None
        present = self._presence.replica_of_instance(graph, instance_id)
        return present.status.replica_id if present else None
