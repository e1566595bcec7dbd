"""What a replica says about itself in discovery, at every change."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

import msgspec

from dynamo.runtime.errors import DiscoveryError
from dynamo.runtime.status import ReplicaStatus

if TYPE_CHECKING:
    from dynamo.runtime import DistributedRuntime

logger = logging.getLogger(__name__)


class Reporter:
    """Keeps the replica's `ReplicaStatus` and publishes each change, in order."""

    def __init__(self, runtime: DistributedRuntime, replica_id: str, service: str, *, run: int = 0) -> None:
        self._runtime = runtime
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self.status = ReplicaStatus(
            replica_id=replica_id,
            service=service,
            pid=os.getpid(),
            host=socket.gethostname(),
            state="starting",
            run=run,
        )

    async def report(self, **changes: Any) -> None:
        """Change fields of the status and publish it. An unreachable store is logged: it will be told again."""
        async with self._lock:
            self.status = msgspec.structs.replace(self.status, **changes)
            await self._publish()

    async def _publish(self) -> None:
        try:
            await self._runtime.report(self.status)
        except DiscoveryError as error:
            logger.warning("the replica's state could not be published: %s", error)

    def progress(self, text: str) -> None:
        """Say how far a long start has come. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._note, text)

    def _note(self, text: str) -> None:
        if text != self.status.progress:
            self.status = msgspec.structs.replace(self.status, progress=text)
            self._changed.set()

    async def publish_progress(self) -> None:
        """Publish what `progress` noted, until cancelled; texts that come faster than they are sent are skipped."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            async with self._lock:
                await self._publish()


_reporter: Reporter | None = None


def set_reporter(reporter: Reporter | None) -> None:
    """Make this the one that `report_progress` speaks to."""
    global _reporter
    _reporter = reporter


def report_progress(text: str) -> None:
    """Tell operators how far a long start has come, e.g. `loading weights 3/8`.

    From any thread; outside a replica it does nothing. The event loop must get a turn for the text to leave:
    load a model in a thread (`await asyncio.to_thread(load)`), not in the constructor.
    """
    if _reporter is not None:
        _reporter.progress(text)
