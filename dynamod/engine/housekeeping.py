"""What is no longer needed goes: old events and revisions, logs of replicas that are long gone, records of old runs."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from dynamod.core.errors import EngineError
from dynamod.drivers.process import REMOVED
from dynamod.engine import run_dirs
from dynamod.engine.core import Core
from dynamod.store import tables
from dynamod.store.changes import Transaction

log = logging.getLogger(__name__)

PERIOD = 3600.0
_RUNS_KEPT = 20
_BATCH = 5000
"""Events deleted in one transaction: the writer is never held up for long."""


async def keep_house(core: Core) -> None:
    """Tidy up now and then once an hour, until cancelled."""
    while True:
        try:
            await tidy_events(core)
            await tidy_revisions(core)
            await asyncio.to_thread(run_dirs.sweep)
            await asyncio.to_thread(
                tidy_directories,
                core.where.replicas_dir,
                frozenset(core.memory.replicas),
                core.now() - core.options.logs_kept,
            )
        except (EngineError, OSError) as error:
            log.warning("tidying up failed and is tried again later: %s", error)
        await asyncio.sleep(PERIOD)


async def tidy_events(core: Core) -> None:
    """Keep the newest `events_kept` events; who asks for older ones is told that they are gone."""
    events = tables.events
    newest_to_go = core.feed.last_seq - core.options.events_kept
    oldest = await core.store.read(
        lambda connection: connection.scalar(
            events.select().with_only_columns(events.c.seq).order_by(events.c.seq).limit(1)
        )
    )
    while oldest is not None and oldest <= newest_to_go:
        upto = min(oldest + _BATCH, newest_to_go + 1)
        transaction = Transaction()
        transaction.delete_where(events.delete().where(events.c.seq < upto))
        await core.store.commit(transaction, core.feed.publish)
        oldest = upto


async def tidy_revisions(core: Core) -> None:
    """Keep the newest `revisions_kept` of each graph, and those that something still refers to."""
    for graph in list(core.memory.graphs.values()):
        known = core.memory.revisions.get(graph.id, {})
        used = {graph.revision, graph.stable, *(r.revision for r in core.memory.of_graph(graph.id))}
        old = [n for n in sorted(known)[: -core.options.revisions_kept] if n not in used]
        for number in old:
            transaction = Transaction()
            transaction.delete(tables.revisions, graph_id=graph.id, number=number)
            await core.store.commit(transaction, core.feed.publish)
            known.pop(number, None)


def tidy_directories(replicas_dir: Path, known: Set[str], gone_before: float) -> None:
    """Delete the directories of forgotten replicas that nothing was written to since `gone_before`, what is left of
    those that were removed, and the records of all but the last runs of the others."""
    for directory in replicas_dir.iterdir():
        if directory.name not in known:
            if directory.name.startswith(REMOVED) or _last_written(directory) < gone_before:
                shutil.rmtree(directory, ignore_errors=True)
            continue
        for kind in ("run", "exit"):
            records = sorted(directory.glob(f"{kind}-*.json"), key=_run_number)
            for record in records[:-_RUNS_KEPT]:
                record.unlink(missing_ok=True)


def _last_written(directory: Path) -> float:
    """The newest change in it; what vanishes meanwhile is just being removed."""
    newest = 0.0
    for path in (directory, *directory.rglob("*")):
        with suppress(FileNotFoundError):
            newest = max(newest, path.stat().st_mtime)
    return newest


def _run_number(record: Path) -> int:
    number = record.stem.partition("-")[2]
    return int(number) if number.isdigit() else 0
