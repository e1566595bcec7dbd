"""Where the dashboard's data comes from: a daemon, or a recording that answers like one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol, TypeVar

from dynamo_tui.client.contexts import Context
from dynamo_tui.client.exchange import Call, StreamCall
from dynamo_tui.client.resume import OnConnection

T = TypeVar("T")


class Source(Protocol):
    """The part of `AsyncClient` that the dashboard uses; errors are the client's."""

    context: Context

    async def send(self, call: Call[T]) -> T: ...

    def follow(
        self, call: StreamCall[T], *, last_event_id: str | None = None, on_connection: OnConnection | None = None
    ) -> AsyncGenerator[T, None]: ...

    async def aclose(self) -> None: ...
