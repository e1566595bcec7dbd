"""Follows what replicas say of themselves in discovery, and notices when they fall silent."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import msgspec
from msgspec.structs import replace

from dynamo.runtime import keys
from dynamo.runtime.discovery.base import Change
from dynamo.runtime.status import ReplicaStatus, decode_status
from dynamo.sdk.spec import ServiceSpec
from dynamod.core import transitions
from dynamod.core.records import Doom, ReplicaRecord, Then
from dynamod.engine.actor import GraphActor
from dynamod.schema.states import Reason, ReplicaState

log = logging.getLogger(__name__)


class StatusWatch:
    """One graph's `replicas/…` keys. A key's disappearance alone proves nothing: a process that died is
    reported by its driver, and one that lives may come back within the grace time."""

    def __init__(self, actor: GraphActor, scope: str) -> None:
        self._actor = actor
        self._scope = scope
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._store = actor.core.discovery.store
        self._number, snapshot = self._store.watch(keys.replicas_prefix(scope), self._changed)
        for item in snapshot.items:
            self._status(item.key, item.value)

    def close(self) -> None:
        self._store.unwatch(self._number)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def expect(self, replica_id: str, grace: float) -> None:
        """A status of this replica should be there, or come within `grace` seconds."""
        if self._store.get(keys.replica_key(self._scope, replica_id)) is None:
            self._watch_silence(replica_id, grace)

    def _changed(self, change: Change) -> None:
        if change.value is not None:
            self._status(change.key, change.value)
        elif (replica_id := keys.parse_replica_key(self._scope, change.key)) is not None:
            self._watch_silence(replica_id, self._actor.core.options.contact_grace)

    def _status(self, key: str, value: bytes) -> None:
        try:
            status = decode_status(value)
        except msgspec.MsgspecError as error:
            log.warning("discovery key %s holds no replica status: %s", key, error)
            return
        if (timer := self._timers.pop(status.replica_id, None)) is not None:
            timer.cancel()
        self._actor.observe(status.replica_id, partial(self._apply, status))

    def _apply(self, status: ReplicaStatus, record: ReplicaRecord, now: float) -> ReplicaRecord:
        if status.run and status.run != record.run:
            return record  # an earlier run's last words
        if status.http and status.http != record.address and record.state.holds_process:
            record = replace(record, address=status.http, updated_at=now)
        if not status.alive and (doom := self._liveness_failed(status, record, now)) is not None:
            return transitions.doomed(record, doom, now)
        if self._probed_otherwise(record):
            return transitions.progressed(record, status.progress, now) if status.progress else record
        if status.state == "ready":
            return transitions.became_ready(record, status.message or "it reports itself ready", now)
        if status.state == "unready":
            return transitions.became_unready(record, Reason.READINESS_FAILED, status.message, now)
        if status.state == "draining":
            return transitions.became_unready(record, Reason.DRAINING, status.message or "it drains", now)
        return transitions.progressed(record, status.progress, now)

    def _liveness_failed(self, status: ReplicaStatus, record: ReplicaRecord, now: float) -> Doom | None:
        """Why a replica that says it is not alive is to be started anew; its own probe has weighed the failures.

        Until it has been ready once, the startup timeout watches over it.
        """
        service = self._service(record)
        probe = service.probes.liveness if service is not None else None
        if (
            service is None
            or probe is None
            or probe.kind != "sdk"
            or record.ready_at is None
            or record.doom is not None
        ):
            return None
        return Doom(Reason.LIVENESS_FAILED, Then.RETRY, now + service.drain_timeout, status.message)

    def _probed_otherwise(self, record: ReplicaRecord) -> bool:
        service = self._service(record)
        return service is not None and service.probes.readiness.kind != "sdk"

    def _service(self, record: ReplicaRecord) -> ServiceSpec | None:
        revision = self._actor.core.memory.revisions.get(record.graph_id, {}).get(record.revision)
        if revision is None or record.service not in revision.spec.service_names():
            return None
        return revision.spec.service(record.service)

    def _watch_silence(self, replica_id: str, grace: float) -> None:
        if (timer := self._timers.pop(replica_id, None)) is not None:
            timer.cancel()
        record = self._actor.core.memory.replicas.get(replica_id)
        run = record.run if record is not None else 0
        loop = asyncio.get_running_loop()
        self._timers[replica_id] = loop.call_later(grace, self._silent, replica_id, run)

    def _silent(self, replica_id: str, run: int) -> None:
        self._timers.pop(replica_id, None)

        def apply(record: ReplicaRecord, now: float) -> ReplicaRecord:
            if record.run != run or record.state is ReplicaState.STARTING or self._probed_otherwise(record):
                return record
            if doubt := self._actor.core.drivers[record.driver].doubt(replica_id):
                return transitions.became_unready(record, Reason.BACKEND_UNREACHABLE, doubt, now)
            text = "its process runs, but it is out of contact with discovery"
            return transitions.became_unready(record, Reason.CONTACT_LOST, text, now)

        self._actor.observe(replica_id, apply)
