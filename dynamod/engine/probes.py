"""Probes the replicas of one graph whose spec asks for more than the replica's own word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dynamo.sdk.spec import ProbeSpec, ServiceSpec
from dynamod.core import transitions
from dynamod.core.records import Doom, ReplicaRecord, RevisionRecord, Then
from dynamod.drivers.base import LaunchError
from dynamod.drivers.environment import launch_of
from dynamod.drivers.logfile import log_dir
from dynamod.drivers.probing import Probe, Subject, Verdict, look, probe_for
from dynamod.drivers.process import ProcessDriver
from dynamod.engine.core import Core
from dynamod.schema.states import Reason, ReplicaState

_QUICK = 0.1
"""Seconds between the first looks at a replica that starts; they grow to the probe's period."""

Observe = Callable[[str, Callable[[ReplicaRecord, float], ReplicaRecord]], None]


@dataclass
class _Probing:
    run: int
    task: asyncio.Task[None]


class Probes:
    """One task per run of a replica that has probes of its own."""

    def __init__(self, core: Core, observe: Observe) -> None:
        self._core = core
        self._observe = observe
        self._running: dict[str, _Probing] = {}

    def follow(self, replicas: Sequence[ReplicaRecord], revisions: Mapping[int, RevisionRecord]) -> None:
        """Probe exactly the runs that are there now."""
        wanted = {r.id: r for r in replicas if r.pid is not None and r.doom is None and r.state.holds_process}
        for replica_id, probing in list(self._running.items()):
            record = wanted.get(replica_id)
            if record is None or record.run != probing.run:
                probing.task.cancel()
                del self._running[replica_id]
        for replica_id, record in wanted.items():
            revision = revisions.get(record.revision)
            if replica_id in self._running or revision is None:
                continue
            if record.service not in revision.spec.service_names():
                continue
            service = revision.spec.service(record.service)
            if probes := _probes(service):
                work = self._probe(record, revision, service, probes)
                task = self._core.tasks.start(work, f"probe {replica_id}")
                self._running[replica_id] = _Probing(record.run, task)

    def close(self) -> None:
        for probing in self._running.values():
            probing.task.cancel()
        self._running.clear()

    async def _probe(
        self, record: ReplicaRecord, revision: RevisionRecord, service: ServiceSpec, probes: dict[str, ProbeSpec]
    ) -> None:
        core = self._core
        driver = core.drivers[record.driver]
        subject = Subject(
            started_at=record.started_at or 0.0,
            log_dir=log_dir(str(core.where.replica_dir(record.id))),
            address=lambda: self._address(record.id),
            port=service.http_port,
            host=lambda: driver.host_of(record.id),
            execute=partial(self._execute, record, revision),
            first_line=partial(driver.first_line, record.id, record.run) if isinstance(driver, ProcessDriver) else None,
        )
        async with asyncio.TaskGroup() as group:
            for name, spec in probes.items():
                probe = probe_for(spec, subject)
                if name == "readiness":
                    group.create_task(self._readiness(record, spec, probe))
                else:
                    group.create_task(self._liveness(record, service, spec, probe))

    async def _execute(self, record: ReplicaRecord, revision: RevisionRecord, argv: Sequence[str]) -> tuple[int, bytes]:
        core = self._core
        try:
            launch = launch_of(record, revision, core.around, gpus=core.options.allocate_gpus)
        except LaunchError as error:
            raise OSError(str(error)) from None
        return await core.drivers[record.driver].execute(launch, argv)

    async def _readiness(self, record: ReplicaRecord, spec: ProbeSpec, probe: Probe) -> None:
        await asyncio.sleep(spec.initial_delay)
        pause, good, bad = _QUICK, 0, 0
        ready = record.state is ReplicaState.READY
        while True:
            verdict = await look(probe, spec.timeout)
            good, bad = (good + 1, 0) if verdict.healthy else (0, bad + 1)
            if good >= spec.success_threshold:
                ready, pause = True, spec.period
                self._report(record, partial(_ready, verdict))
            elif bad and (not ready or bad >= spec.failure_threshold):
                self._report(record, partial(_unready, verdict))
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, spec.period)

    async def _liveness(self, record: ReplicaRecord, service: ServiceSpec, spec: ProbeSpec, probe: Probe) -> None:
        """Begins once the replica has been ready: until then the startup timeout watches over it."""
        await asyncio.sleep(spec.initial_delay)
        bad = 0
        while True:
            await asyncio.sleep(spec.period)
            if not self._was_ready(record):
                continue
            verdict = await look(probe, spec.timeout)
            bad = 0 if verdict.healthy else bad + 1
            if bad >= spec.failure_threshold:
                self._report(record, partial(_dead, verdict, bad, service.drain_timeout))
                return

    def _report(self, record: ReplicaRecord, change: Callable[[ReplicaRecord, float], ReplicaRecord]) -> None:
        run = record.run
        self._observe(record.id, lambda r, now: change(r, now) if r.run == run else r)

    def _was_ready(self, record: ReplicaRecord) -> bool:
        known = self._core.memory.replicas.get(record.id)
        return known is not None and known.run == record.run and known.ready_at is not None

    def _address(self, replica_id: str) -> str | None:
        record = self._core.memory.replicas.get(replica_id)
        return record.address if record is not None else None


def _probes(service: ServiceSpec) -> dict[str, ProbeSpec]:
    """Those that are looked at from outside."""
    asked = {"readiness": service.probes.readiness, "liveness": service.probes.liveness}
    return {name: spec for name, spec in asked.items() if spec is not None and spec.kind != "sdk"}


def _ready(verdict: Verdict, record: ReplicaRecord, now: float) -> ReplicaRecord:
    return transitions.became_ready(record, verdict.text, now)


def _unready(verdict: Verdict, record: ReplicaRecord, now: float) -> ReplicaRecord:
    return transitions.became_unready(record, Reason.READINESS_FAILED, verdict.text, now)


def _dead(verdict: Verdict, count: int, drain: float, record: ReplicaRecord, now: float) -> ReplicaRecord:
    if record.doom is not None:
        return record
    message = f"its liveness probe failed {count} times: {verdict.text}"
    return transitions.doomed(record, Doom(Reason.LIVENESS_FAILED, Then.RETRY, now + drain, message), now)
