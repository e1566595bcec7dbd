"""The file that holds what was measured: one SQLite database, used by one thread of its own.

Samples (`store`) and the KV router's figures (`observe.kv.history`) live in it, in tiers of growing step and age.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Tier:
    """Points `step` seconds apart, kept for `keep` seconds."""

    step: int
    keep: int

    def end_of(self, t: int) -> int:
        """The end of the step that `t` lies in: a point there speaks of that step."""
        return t + (-t) % self.step


TIERS = (Tier(1, 30 * 60), Tier(10, 6 * 3600), Tier(60, 7 * 24 * 3600))


def tier_for(since: float, step: float, now: float) -> Tier:
    """The finest tier that still holds `since`, but not finer than the step that is wanted needs."""
    reaching = [tier for tier in TIERS if now - tier.keep <= since] or [TIERS[-1]]
    coarse_enough = [tier for tier in reaching if tier.step <= step]
    return coarse_enough[-1] if coarse_enough else reaching[0]


def open_database(path: Path | str) -> sqlite3.Connection:
    """A connection for the thread that calls this. Raises `sqlite3.Error`."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA auto_vacuum=INCREMENTAL")  # first: it holds for a file that has nothing in it yet
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    return database


class MetricsFile:
    """Opened by the first `run`; its owner closes it."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics-file")
        self._database: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in the file's thread, in the order of the calls. Raises `sqlite3.Error`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._opened()))

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = open_database(self._path)
        return self._database

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
