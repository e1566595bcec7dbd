"""One daemon (or recording) and what is known of it: several can be open at once, each tab looks at one."""

from __future__ import annotations

import time
from collections.abc import Callable

from dynamo_tui.client.aio import AsyncClient
from dynamo_tui.client.contexts import Context
from dynamo_tui.tui.connection import Connection
from dynamo_tui.tui.replay import Replay
from dynamo_tui.tui.source import Source
from dynamo_tui.tui.store import Link, Store


class Session:
    """A context with its client, its picture, and the connection that fills it. `now` is the time that it shows."""

    def __init__(
        self,
        context: Context,
        on_change: Callable[[], None],
        *,
        now: Callable[[], float] = time.time,
        replay: Replay | None = None,
    ) -> None:
        self.context = context
        self.replay = replay
        self.now = now if replay is None else replay.now
        self.client: Source = AsyncClient(context) if replay is None else replay
        self._on_change = on_change
        self.begin()

    def begin(self) -> None:
        """An empty picture, and a connection that fills it once it runs."""
        self.store = Store(self._on_change)
        if self.replay is not None:
            self.replay.fill(self.store)
        live = Link.LIVE if self.replay is None else Link.REPLAY
        self.connection = Connection(self.client, self.store, self.now, live=live)

    async def aclose(self) -> None:
        await self.client.aclose()
