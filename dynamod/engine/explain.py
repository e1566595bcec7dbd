"""`why`: everything that explains one replica, joined on one screen."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dynamod.core.records import ReplicaRecord
from dynamod.core.transitions import describe
from dynamod.drivers import logfile
from dynamod.drivers.base import Limits
from dynamod.engine.base import EngineBase
from dynamod.engine.views import replica_view
from dynamod.schema.graphs import Why
from dynamod.schema.states import Reason, ReplicaState
from dynamod.store.queries import EventFilter, latest_events

TAIL_LINES = 20
_EVENTS = 15
_TAIL_BYTES = 65536


class Explanations(EngineBase):
    async def why(self, replica_id: str) -> Why:
        """Why it is where it is, why it died or waits, and what comes next.

        Raises:
            NotFound: there is no such replica.
        """
        core = self.core
        record = core.memory.replica(replica_id)
        only = EventFilter(replica=replica_id)
        events = await core.store.read(lambda connection: latest_events(connection, _EVENTS, only))
        tail = await asyncio.to_thread(tail_lines, core.where.replica_dir(replica_id), TAIL_LINES)
        return Why(
            replica=replica_view(record),
            summary=summary(record, core.now()),
            placement=list(record.placement),
            limits=self._limits(record),
            waiting_for=_waiting_for(record),
            probe=record.probe,
            events=list(events),
            log_tail=tail,
        )

    def _limits(self, record: ReplicaRecord) -> str:
        """What it asked for and whether that is kept."""
        revision = self.core.memory.revisions[record.graph_id].get(record.revision)
        if record.driver != "process" or revision is None or record.service not in revision.spec.service_names():
            return ""
        resources = revision.spec.service(record.service).resources
        limits = Limits(resources.cpu, resources.memory)
        asked = []
        if limits.cpu is not None:
            asked.append(f"{limits.cpu:g} cores")
        if limits.memory is not None:
            asked.append(f"{limits.memory / (1 << 20):.0f} MiB of memory")
        unkept = self.core.groups.unkept(limits)
        return " and ".join(asked) + (f" ({unkept})" if unkept else "")


def summary(record: ReplicaRecord, now: float) -> str:
    """One sentence."""
    name = f"{record.id} ({record.service})"
    text = f"{name} is {record.state}: {_WORDS.get(record.reason, record.reason.replace('_', ' '))}"
    if record.message:
        text += f" ({record.message})"
    if record.state is ReplicaState.READY and record.ready_at is not None:
        text += f", for {_duration(now - record.ready_at)}"
    if record.last_exit is not None:
        text += f"; its last run {describe(record.last_exit)}"
    if record.next_retry_at is not None and record.next_retry_at > now:
        text += f"; next try in {_duration(record.next_retry_at - now)}"
    return text


_WORDS = {
    Reason.PROBE_SUCCEEDED: "it answers its readiness probe",
    Reason.SPAWNED: "its process runs and has not been ready yet",
    Reason.STARTING_UP: "it is starting up",
    Reason.BACKING_OFF: "it failed and waits for its next try",
    Reason.ADOPTED: "it was running when the engine came back",
    Reason.CONTACT_LOST: "its process could not be reached or proved dead",
    Reason.RESTART_BUDGET_SPENT: "it failed too often",
}


def _waiting_for(record: ReplicaRecord) -> list[str]:
    if record.state is not ReplicaState.PENDING:
        return []
    return [part.strip() for part in record.message.split(";") if part.strip()]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def tail_lines(replica_dir: Path, count: int) -> list[str]:
    """The last lines of a replica's log."""
    directory = Path(logfile.log_dir(str(replica_dir)))
    lines: list[str] = []
    for number in reversed(logfile.segments(str(directory))):
        try:
            with (directory / logfile.segment_name(number)).open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(size - _TAIL_BYTES, 0))
                found = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            continue
        lines = found[-(count - len(lines)) :] + lines
        if len(lines) >= count:
            break
    return lines
