"""The output of a graph's pods, kept as the logs of its replicas (see `logfile`), and resumed after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynamod.core.errors import EngineError
from dynamod.drivers.kubernetes.errors import ClusterRefused
from dynamod.drivers.kubernetes.pod_streams import PodStreams
from dynamod.drivers.logfile import log_dir
from dynamod.drivers.logwriter import LogWriter
from dynamod.schema.locations import Locations
from dynamod.tasks import OwnedTasks

log = logging.getLogger(__name__)

RETRY_S = 1.0


@dataclass(frozen=True)
class Started:
    """A pod's container that has been started, and runs unless `over`. `previous` is the one before it, if any."""

    container: str
    previous: str = ""
    over: bool = False


@dataclass
class _Kept:
    now: Started
    news: asyncio.Event
    task: asyncio.Task[Any] | None = None


class PodLogs:
    """One task a pod: its containers come one after the other."""

    def __init__(self, streams: PodStreams, where: Locations) -> None:
        self._streams = streams
        self._where = where
        self._tasks = OwnedTasks()
        self._kept: dict[str, _Kept] = {}

    def follow(self, started: Mapping[str, Started]) -> None:
        """Keep the output of exactly these pods, by name."""
        for name in self._kept.keys() - started.keys():
            task = self._kept.pop(name).task
            if task is not None:
                task.cancel()
        for name, now in started.items():
            known = self._kept.get(name)
            if known is None:
                known = self._kept[name] = _Kept(now, asyncio.Event())
                known.task = self._tasks.start(self._keep(name, known), f"log of {name}")
            elif known.now != now:
                known.now = now
                known.news.set()

    async def close(self) -> None:
        self._kept.clear()
        await self._tasks.close()

    async def _keep(self, pod: str, kept: _Kept) -> None:
        place = _Place(self._where.replica_dir(pod))
        await asyncio.to_thread(place.read)
        while True:
            kept.news.clear()
            now = kept.now
            try:
                if now.previous and place.container and place.container != now.container:
                    await self._store(pod, place, place.container, previous=place.container == now.previous)
                await self._store(pod, place, now.container)
            except ClusterRefused as error:  # its container has not started, or its node has gone
                log.debug("log of %s: %s", pod, error)
            except (EngineError, OSError) as error:
                log.debug("log of %s is read again: %s", pod, error)
            else:
                if now.over:
                    await kept.news.wait()
                    continue
            # A stream also ends when the way to it breaks: it is looked at again, from where it was.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await kept.news.wait()

    async def _store(self, pod: str, place: _Place, container: str, *, previous: bool = False) -> None:
        """Write down what the container has said since, and what it says, until it ends."""
        place.enter(container)
        async with self._streams.log(pod, since=place.stamp, previous=previous) as chunks:
            writer = await asyncio.to_thread(place.open)
            try:
                async for lines in _lines(chunks):
                    await asyncio.to_thread(place.write, writer, lines)
            finally:
                await asyncio.shield(asyncio.to_thread(place.finish, writer))


class _Place:
    """Where a pod's log is, and up to which line it has been stored."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "logged"
        self.container = ""
        self.stamp = ""

    def read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.container, self.stamp = self._file.read_text().split()

    def enter(self, container: str) -> None:
        if container != self.container:
            self.container, self.stamp = container, ""

    def open(self) -> LogWriter:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LogWriter(log_dir(str(self._directory)))

    def write(self, writer: LogWriter, lines: list[bytes]) -> None:
        """Each line begins with its time, all of them equally long: they sort as they are."""
        new = b""
        for line in lines:
            stamp, _, text = line.partition(b" ")
            if (word := stamp.decode(errors="replace")) > self.stamp:
                new += text
                self.stamp = word
        writer.write(new)
        self._note()

    def finish(self, writer: LogWriter) -> None:
        writer.finish()
        writer.close()
        self._note()

    def _note(self) -> None:
        if self.stamp:
            with contextlib.suppress(OSError):  # the replica was removed meanwhile, or the disk is full
                self._file.write_text(f"{self.container} {self.stamp}")


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Whole lines, as many as have come."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield [line + b"\n" for line in lines]
    if rest:
        yield [rest + b"\n"]
