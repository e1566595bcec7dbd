"""The daemon's store: one writer thread, a small pool of readers, short transactions, nothing awaited inside one.

Write transactions come as data (`changes.Transaction`) and are written in the order they were handed in.
Those that wait together share one commit, each in a savepoint of its own, so that one that fails fails
alone. Every write transaction starts with BEGIN IMMEDIATE: a lock is never upgraded, hence never
"database is locked". SQLite runs in WAL mode; a PostgreSQL URL is served by the same code.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from dynamod.core.errors import DiskFull, EngineError, StoreError
from dynamod.schema.events import Event
from dynamod.store import tables
from dynamod.store.changes import Transaction, write
from dynamod.store.migrate import migrate

log = logging.getLogger(__name__)
T = TypeVar("T")

READERS = 2
_BATCH = 128
_PG_FULL = "53100"
_ADVISORY_LOCK = 0x64796E61  # "dyna": one daemon per PostgreSQL database


OnWritten = Callable[[list[Event]], None]


@dataclass
class _Pending:
    transaction: Transaction
    on_written: OnWritten
    done: asyncio.Future[list[Event]]


class Store:
    """Open one with `Store.open`, close it with `close`."""

    def __init__(self, url: str, database: Path | None) -> None:
        self._database = database
        self._writer_engine = _engine(url, immediate=True)
        self._reader_engine = _engine(url, immediate=False)
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="store-writer", daemon=True)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._lock_connection: Connection | None = None
        self._loop: asyncio.AbstractEventLoop
        self.last_seq = 0

    @classmethod
    async def open(cls, database: Path, url: str | None = None) -> Store:
        """Open the SQLite file `database`, or the database at `url`, and bring its schema up to date.

        Raises:
            StoreError: it cannot be opened or migrated.
        """
        store = cls(url or f"sqlite:///{database}", None if url else database)
        try:
            await asyncio.to_thread(store._open)
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            store._dispose()
            shown = "at the given URL" if url else str(database)  # a URL may hold a password
            raise StoreError(f"cannot open the database {shown}: {_first_line(error)}") from error
        except StoreError:
            store._dispose()
            raise
        store._thread.start()
        return store

    async def commit(self, transaction: Transaction, on_written: OnWritten) -> list[Event]:
        """Write a transaction and return its events, numbered. It is durable when this returns.

        `on_written` is called in the event loop once it is written, in the order of commits and even when the
        caller was cancelled meanwhile: a commit that is under way cannot be taken back.

        Raises:
            Conflict: it contradicts what is stored; nothing was written.
            StoreError: it could not be written (disk full, …); nothing was written.
        """
        self._loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Event]] = self._loop.create_future()
        self._queue.put(_Pending(transaction, on_written, done))
        return await asyncio.shield(done)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on a reader's connection, in a thread."""

        def run() -> T:
            with self._reader_engine.connect() as connection:
                return query(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, run)
        except SQLAlchemyError as error:
            raise StoreError(f"the database cannot be read: {_first_line(error)}") from error
        except msgspec.ValidationError as error:
            raise StoreError(
                f"the database holds what this version of dynamod does not know: {error}",
                remedy="use the version that wrote it, or a newer one",
            ) from error

    async def close(self) -> None:
        """Write what was handed in, then close."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._readers.shutdown)
        self._dispose()

    def _dispose(self) -> None:
        if self._lock_connection is not None:
            self._lock_connection.close()
        self._writer_engine.dispose()
        self._reader_engine.dispose()

    def _open(self) -> None:
        if self._database is not None:
            self._database.touch(mode=0o600, exist_ok=True)
        else:
            self._lock_out_others()
        backup = migrate(self._writer_engine, self._database)
        if backup is not None:
            log.info("the database was migrated; its backup is %s", backup)
        with self._reader_engine.connect() as connection:
            self.last_seq = connection.scalar(select(func.max(tables.events.c.seq))) or 0

    def _lock_out_others(self) -> None:
        self._lock_connection = self._reader_engine.connect()
        if not self._lock_connection.scalar(text(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})")):
            raise StoreError("another dynamod uses this database", remedy="stop it, or give this one its own database")
        self._lock_connection.commit()

    def _write_all(self) -> None:
        with self._writer_engine.connect() as connection:
            while (first := self._queue.get()) is not None:
                batch = [first]
                while len(batch) < _BATCH and not self._queue.empty():
                    following = self._queue.get()
                    if following is None:
                        self._queue.put(None)
                        break
                    batch.append(following)
                self._write_batch(connection, batch)

    def _write_batch(self, connection: Connection, batch: list[_Pending]) -> None:
        """One commit for all of them; a commit that fails, fails all of them."""
        outcomes: list[tuple[_Pending, list[Event] | EngineError]] = []
        seq = self.last_seq
        try:
            with connection.begin():
                for pending in batch:
                    outcome = _write_one(connection, pending.transaction, seq + 1)
                    if isinstance(outcome, list):
                        seq += len(outcome)
                    outcomes.append((pending, outcome))
            self.last_seq = seq
        except SQLAlchemyError as error:
            failure = _failure("the database cannot be written", error)
            outcomes = [(pending, failure) for pending in batch]
        self._loop.call_soon_threadsafe(_tell, outcomes)


def _tell(outcomes: list[tuple[_Pending, list[Event] | EngineError]]) -> None:
    for pending, outcome in outcomes:
        if isinstance(outcome, list):
            pending.on_written(outcome)
        if pending.done.done():
            continue
        if isinstance(outcome, list):
            pending.done.set_result(outcome)
        else:
            pending.done.set_exception(outcome)


def _write_one(connection: Connection, transaction: Transaction, next_seq: int) -> list[Event] | EngineError:
    # Said to the driver directly: SQLAlchemy would compile these statements anew each time, at a third of the cost.
    connection.exec_driver_sql("SAVEPOINT one")
    try:
        events = write(connection, transaction, next_seq)
    except EngineError as error:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one")
        return error
    except SQLAlchemyError as error:
        if _is_full(error):
            raise  # the database has rolled all of it back, savepoints included
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one")
        return StoreError(f"the database refuses a change: {_first_line(error)}")
    connection.exec_driver_sql("RELEASE SAVEPOINT one")
    return events


def _engine(url: str, *, immediate: bool) -> Engine:
    pool = {"poolclass": QueuePool, "pool_size": 1 if immediate else READERS + 1, "max_overflow": 0}
    if not url.startswith("sqlite"):
        return create_engine(url, **pool)
    engine = create_engine(url, connect_args={"timeout": 30.0, "check_same_thread": False}, **pool)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _failure(what: str, error: Exception) -> StoreError:
    return DiskFull(what) if _is_full(error) else StoreError(f"{what}: {_first_line(error)}")


def _is_full(error: Exception) -> bool:
    cause = getattr(error, "orig", None)
    return getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(cause, "sqlstate", "") == _PG_FULL


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
