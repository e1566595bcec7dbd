"""One owner of everything that comes from a daemon: the snapshot, the event feed, and the feeds of views.

Each feed is a coroutine that runs until it is cancelled; whoever shows its data runs it, and nothing that is
not shown is asked for. Lost connections are retried by the client, resumed where they were.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Literal, TypeVar

from dynamo_tui.client import calls, streams
from dynamo_tui.client.errors import ClientError, Gone
from dynamo_tui.client.exchange import StreamCall
from dynamo_tui.client.resume import ConnectionState, Resumption
from dynamo_tui.tui.retained import all_pages, retained_rates
from dynamo_tui.tui.source import Source
from dynamo_tui.tui.store import GraphKey, Link, Store
from dynamod.schema import KvDecision, KvSnapshot

T = TypeVar("T")

PAGE = 1_000
PAST_EVENTS = 300
RATES_PAST_S = 3_600.0
RATES_STEP_S = 5.0
HISTORY_S = 1_800.0
HISTORY_STEP_S = 5.0
KV_WINDOW_S = 60.0


class Connection:
    """Feeds a store from one daemon."""

    def __init__(
        self, client: Source, store: Store, now: Callable[[], float] = time.time, *, live: Link = Link.LIVE
    ) -> None:
        self.client = client
        self.store = store
        self.now = now
        self._live = live
        self._with_past: set[tuple[GraphKey, str | None]] = set()

    @property
    def name(self) -> str:
        return self.client.context.name

    async def run(self) -> None:
        """Keep graphs and replicas current, until cancelled. Never raises for a daemon that is away."""
        resumption = Resumption()
        while True:
            try:
                await self._take_snapshot()
                self.store.set_link(self._live)
                await self._follow_events()
            except Gone:
                continue  # too far behind to resume: the next snapshot has it all
            except ClientError as error:
                delay = resumption.next_delay()
                self._lost(str(error), delay)
                await asyncio.sleep(delay)

    def _lost(self, error: str, retry_in: float) -> None:
        known = self.store.info is not None
        self.store.set_link(Link.LOST if known else Link.CONNECTING, f"{error}; next try in {retry_in:.0f} s")

    async def _take_snapshot(self) -> None:
        # The sequence is read first: events that fall between it and the lists are applied again, and change nothing.
        info = await self.client.send(calls.info())
        graphs = await all_pages(self.client, lambda after: calls.graphs(project=None, after=after, limit=PAGE))
        replicas = await all_pages(self.client, lambda after: calls.replicas(project=None, after=after, limit=PAGE))
        self.store.set_snapshot(info, graphs, replicas, info.last_seq)

    async def _follow_events(self) -> None:
        feed = self.client.follow(
            streams.events(after=self.store.seq), last_event_id=str(self.store.seq), on_connection=self._connection
        )
        async with aclosing(feed) as events:
            async for event in events:
                self.store.apply(event)

    def _connection(self, state: ConnectionState) -> None:
        if state.connected:
            self.store.set_link(self._live)
        else:
            self._lost(state.error, state.retry_in_s)

    # -- feeds of views -------------------------------------------------------------------------------------

    async def past_events(self) -> None:
        """Fetch what happened before the dashboard was opened, once."""
        info = self.store.info
        if info is None or len(self.store.events) >= PAST_EVENTS:
            return
        first = self.store.events[0].seq if self.store.events else info.last_seq + 1
        try:
            page = await self.client.send(calls.events(after=max(0, first - 1 - PAST_EVENTS), limit=PAST_EVENTS))
        except ClientError:
            return  # the feed goes on; only the past is missing
        self.store.add_past_events(page.items)

    async def rates(self, key: GraphKey, replica: str | None = None) -> None:
        """What the services of a graph do, at most once a second; first what is retained, of them or of one replica."""
        if (key, replica) not in self._with_past:
            await self._rates_history(key, replica)
        async for rates in self._feed(streams.rates(key.name, project=key.project)):
            self.store.apply_rates(key, rates, self.now())

    async def _rates_history(self, key: GraphKey, replica: str | None) -> None:
        """Fetch the figures from before the dashboard was opened, once for each graph and replica."""
        until = self.now()
        try:
            past = await retained_rates(self.client, key, until - RATES_PAST_S, until, RATES_STEP_S, replica=replica)
        except ClientError:
            return  # no past; the live feed starts one
        self._with_past.add((key, replica))
        self.store.merge_rates_history(key, past)

    async def kv(self, key: GraphKey) -> None:
        """A graph's KV routing: retained history first, then live."""
        for by in ("graph", "worker"):
            await self._kv_history(key, by)
        async for item in self._feed(streams.kv(key.name, window=KV_WINDOW_S, project=key.project)):
            match item:
                case KvSnapshot():
                    self.store.apply_kv_snapshot(key, item)
                case KvDecision():
                    self.store.apply_kv_decision(key, item)

    async def _kv_history(self, key: GraphKey, by: Literal["graph", "worker"]) -> None:
        now = self.now()
        call = calls.kv_series(
            key.name, since=now - HISTORY_S, until=now, step=HISTORY_STEP_S, by=by, project=key.project
        )
        try:
            series = await self.client.send(call)
        except ClientError:
            return  # no history; the live feed starts one
        self.store.merge_kv_history(key, series)

    async def gpus(self) -> None:
        """The devices, whenever something about one changes."""
        async for gpus in self._feed(streams.gpus()):
            self.store.set_gpus(gpus)

    async def _feed(self, call: StreamCall[T]) -> AsyncIterator[T]:
        """A followed stream that outlives a resource which is not there yet, and ends with its owner."""
        resumption = Resumption()
        while True:
            try:
                async with aclosing(self.client.follow(call)) as items:
                    async for item in items:
                        yield item
            except ClientError:
                # Not there yet, not any more, or said unreadably: the event feed tells whether the daemon is away.
                await asyncio.sleep(resumption.next_delay())
