"""Prints replicas' log lines as they come, each with its service in front."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Iterable, Sequence

from dynamod.observe.logs.follow import Batch
from dynamod.schema import Replica

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class BlockingWriter:
    """Writes to a descriptor that may block (a pipe that nobody reads) from a thread that nobody waits for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: queue.SimpleQueue[tuple[bytes, asyncio.AbstractEventLoop, asyncio.Future[None]]]
        self._queue = queue.SimpleQueue()
        self._broken = False
        threading.Thread(target=self._run, name="stdout", daemon=True).start()

    async def write(self, data: bytes) -> None:
        """Returns when all of it is written, or when nobody can read it any more."""
        loop = asyncio.get_running_loop()
        written = loop.create_future()
        self._queue.put((data, loop, written))
        await written

    def _run(self) -> None:
        while True:
            data, loop, written = self._queue.get()
            try:
                while data and not self._broken:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                self._broken = True
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(_resolve, written)


class LogPrinter:
    """`[Service] line` on stdout; a service with several replicas is told apart as `[Service:2]`."""

    def __init__(self, services: Sequence[str], descriptor: int = 1) -> None:
        self._writer = BlockingWriter(descriptor)
        self._colour = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(services)}
        self._labels: dict[str, str] = {}
        self._coloured = os.isatty(descriptor)

    def learn(self, replicas: Iterable[Replica], counts: dict[str, int]) -> None:
        """Which replica is which; `counts` says how many a service wants."""
        for replica in replicas:
            several = counts.get(replica.service, 1) > 1 or replica.index > 1
            label = f"[{replica.service}:{replica.index}]" if several else f"[{replica.service}]"
            if self._coloured:
                label = f"\x1b[{self._colour.get(replica.service, 36)}m{label}\x1b[0m"
            self._labels[replica.id] = label

    async def show(self, batch: Batch) -> None:
        lines = [f"{self._labels.get(line.replica, f'[{line.service}]')} {line.text}\n" for line in batch.lines]
        if batch.skipped:
            lines.insert(0, f"… {batch.skipped:,} lines skipped\n")
        await self._writer.write("".join(lines).encode())


def say(text: str) -> None:
    """A line of this program's own, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _resolve(written: asyncio.Future[None]) -> None:
    if not written.done():
        written.set_result(None)
