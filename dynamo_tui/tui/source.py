"""Where the dashboard's data comes from: a daemon, or a recording that answers like one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, TypeVar

from dynamo_tui.client.contexts import Context
from dynamo_tui.client.exchange import Call, StreamCall
from dynamo_tui.client.resume import OnConnection
from dynamo_tui.tui.clock import Clock
from dynamo_tui.tui.store import Store

T = TypeVar("T")


class Source(Protocol):
    """The part of `AsyncClient` that the dashboard uses; errors are the client's."""

    context: Context

    async def send(self, call: Call[T]) -> T: ...

    def follow(
        self, call: StreamCall[T], *, last_event_id: str | None = None, on_connection: OnConnection | None = None
    ) -> AsyncGenerator[T, None]: ...

    def follow_batches(
        self, call: StreamCall[T], *, last_event_id: str | None = None, on_connection: OnConnection | None = None
    ) -> AsyncGenerator[list[T], None]: ...

    async def aclose(self) -> None: ...


class TimedSource(Source, Protocol):
    """A source that answers as of the time that its clock shows: a recording, or a daemon's past."""

    @property
    def clock(self) -> Clock: ...

    @property
    def troubles(self) -> Sequence[float]:
        """When something went wrong, in order of time."""

    @property
    def notice(self) -> str:
        """What of that time cannot be shown; empty where nothing is missing."""

    def fill(self, store: Store) -> None:
        """Give an empty picture what is known without asking: it shows at once."""


class FollowsBatches(ABC):
    """Follows a stream item by item, for a source that follows it batch by batch."""

    @abstractmethod
    def follow_batches(
        self, call: StreamCall[T], *, last_event_id: str | None = None, on_connection: OnConnection | None = None
    ) -> AsyncGenerator[list[T], None]: ...

    async def follow(
        self, call: StreamCall[T], *, last_event_id: str | None = None, on_connection: OnConnection | None = None
    ) -> AsyncGenerator[T, None]:
        """The items of `follow_batches`, one by one."""
        async for batch in self.follow_batches(call, last_event_id=last_event_id, on_connection=on_connection):
            for item in batch:
                yield item
