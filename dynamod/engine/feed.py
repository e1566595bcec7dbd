"""The live event feed: what was written is passed to subscribers, in order and without gaps."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from dynamod.core.errors import Gone, SlowConsumer, Unavailable
from dynamod.schema.events import Event
from dynamod.store.database import Store
from dynamod.store.queries import EventFilter, events_after

_PAGE = 500


class Feed:
    """`last_seq` is the number of the last event that was passed on."""

    def __init__(self, store: Store, backlog: int) -> None:
        self.last_seq = store.last_seq
        self._store = store
        self._backlog = backlog
        self._subscriptions: set[EventSubscription] = set()
        self._closed = False

    def publish(self, events: Sequence[Event]) -> None:
        if events:
            self.last_seq = events[-1].seq
            for subscription in list(self._subscriptions):
                subscription._push(events)

    def subscribe(self, after: int | None) -> EventSubscription:
        """Follow the events after a sequence number (None: from now on).

        Raises:
            Gone: there is no event `after` yet: whoever asks has seen another store.
            Unavailable: the engine is stopping.
        """
        if self._closed:
            raise Unavailable("the engine is stopping")
        if after is not None and after > self.last_seq:
            raise Gone(after, last=self.last_seq)
        subscription = EventSubscription(self._store, after, self.last_seq, self._backlog, self._subscriptions.discard)
        self._subscriptions.add(subscription)
        return subscription

    def close(self) -> None:
        """End every subscription: iteration stops."""
        self._closed = True
        for subscription in list(self._subscriptions):
            subscription.close()


class EventSubscription:
    """All events after a sequence number: first those that are stored, then live ones, none missing or twice.

    Iterate over it; `close` it (or use `async with`) when done. Iteration raises `Gone` when the beginning is
    no longer kept, and `SlowConsumer` when more than the backlog piled up; call `begin` to learn of `Gone` early.
    """

    def __init__(
        self,
        store: Store,
        after: int | None,
        live_from: int,
        backlog: int,
        on_close: Callable[[EventSubscription], None],
    ) -> None:
        self.position = live_from if after is None else after
        self._store = store
        self._live_from = live_from
        self._backlog = backlog
        self._on_close = on_close
        self._stored: deque[Event] = deque()
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._dropped = False
        self._closed = False

    async def begin(self) -> None:
        """Read the first stored events.

        Raises:
            Gone: they are no longer kept.
        """
        if self.position < self._live_from and not self._stored:
            await self._read_stored()

    async def __aenter__(self) -> EventSubscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> EventSubscription:
        return self

    async def __anext__(self) -> Event:
        while True:
            if self._stored or (self._events and self.position >= self._live_from):
                event = (self._stored or self._events).popleft()
                self.position = event.seq
                return event
            if self._closed:
                raise StopAsyncIteration
            if self.position < self._live_from:
                await self._read_stored()
                continue
            if self._dropped:
                raise SlowConsumer(self.position)
            self._arrived.clear()
            await self._arrived.wait()

    def close(self) -> None:
        self._closed = True
        self._on_close(self)
        self._arrived.set()

    async def _read_stored(self) -> None:
        """One page of history; what arrives live meanwhile waits behind it."""
        position = self.position
        page = await self._store.read(lambda connection: events_after(connection, position, _PAGE, EventFilter()))
        page = [event for event in page if event.seq <= self._live_from]
        if not page:
            self.position = self._live_from
        self._stored.extend(page)

    def _push(self, events: Sequence[Event]) -> None:
        if self._dropped or self._closed:
            return
        if len(self._events) + len(events) > self._backlog:
            self._dropped = True
            self._on_close(self)
        else:
            self._events.extend(events)
        self._arrived.set()
