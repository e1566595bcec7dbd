"""One daemon (or recording) and what is known of it: several can be open at once, each tab looks at one."""

from __future__ import annotations

import time
from collections.abc import Callable

from dynamo_tui.client.aio import AsyncClient
from dynamo_tui.client.contexts import Context
from dynamo_tui.tui.connection import Connection
from dynamo_tui.tui.replay import Replay
from dynamo_tui.tui.source import Source, TimedSource
from dynamo_tui.tui.store import Link, Store


class Session:
    """A context with its client, its picture, and the connection that fills it. It shows the present, or a past."""

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
        self.build_tags: list[str] = []
        """The builds that were seen last, for completion."""
        self.travel: TimedSource | None = replay
        """What answers as of another time than the present."""
        self._present = now
        self._live = AsyncClient(context) if replay is None else None
        self._on_change = on_change
        self.begin()

    @property
    def client(self) -> Source:
        source = self.travel or self._live
        assert source is not None, "a session has a daemon or a recording"
        return source

    @property
    def live(self) -> Source | None:
        """The daemon as it is now; None where a recording is shown."""
        return self._live

    def now(self) -> float:
        """The time that it shows, seconds since the epoch."""
        return self.present() if self.travel is None else self.travel.clock.now()

    def present(self) -> float:
        return self._present()

    @property
    def in_past(self) -> bool:
        """The daemon is asked for what was: figures that it keeps of the present alone are missing."""
        return self.travel is not None and self.replay is None

    def begin(self) -> None:
        """An empty picture, and a connection that fills it once it runs."""
        self.store = Store(self._on_change)
        link = Link.LIVE
        if self.travel is not None:
            link = Link.PAST if self.in_past else Link.REPLAY
            self.travel.fill(self.store)
        self.connection = Connection(self.client, self.store, self.now, live=link)

    async def aclose(self) -> None:
        if self._live is not None:
            await self._live.aclose()
