"""The GPU ledgers of an engine: observed (readings), claimed (database), granted (what running replicas were given)."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from dynamod.core.allocation import Claimed, Device
from dynamod.core.errors import Unavailable
from dynamod.core.gpu_health import Assessment, DeviceReading, assess
from dynamod.core.gpu_mask import pool
from dynamod.core.records import ClaimRecord, ReplicaRecord
from dynamod.drivers.identity import owner_of
from dynamod.drivers.nvml import GpuReader, open_nvml
from dynamod.drivers.simulated_gpus import VARIABLE, SimulatedGpus
from dynamod.engine.feed import Feed
from dynamod.engine.memory import Memory
from dynamod.engine.options import EngineOptions
from dynamod.engine.turn import ENGINE, Turn
from dynamod.schema.events import Event
from dynamod.schema.graphs import GpuShare
from dynamod.schema.observations import Gpu, GpuClaim, GpuProcess
from dynamod.schema.states import Action, Reason
from dynamod.store import tables
from dynamod.store.changes import Draft, Transaction
from dynamod.store.database import Store

log = logging.getLogger(__name__)

WATCH_PERIOD = 5.0
RELEASE_PERIOD = 0.5
"""Seconds between readings: of a machine with GPUs, and while a device is being released."""


class GpuLedger:
    """`devices` is None until the inventory has been read: nothing with GPUs is placed before."""

    def __init__(
        self,
        memory: Memory,
        store: Store,
        feed: Feed,
        options: EngineOptions,
        now: Callable[[], float],
        xids_file: Path | None = None,
    ) -> None:
        self._memory = memory
        self._store = store
        self._feed = feed
        self._options = options
        self._now = now
        self._xids_file = xids_file
        simulated = options.environ.get(VARIABLE, "")
        self._reader: GpuReader | None = SimulatedGpus(simulated) if simulated else None
        self._in_flight = False
        self._readings: list[DeviceReading] = []
        self._owners: dict[int, str | None] = {}
        self._conditions: Mapping[str, tuple[str, ...]] = {}
        self._again = asyncio.Event()
        self._known = asyncio.Event()
        self.devices: Sequence[Device] | None = None

    @property
    def simulated(self) -> bool:
        return self._reader is not None and self._reader.simulated

    async def run(self, on_change: Callable[[], None]) -> None:
        """Read the devices again and again, as often as there is reason to. `on_change` is called when a reading
        changes what can be given out."""
        reader = self._reader if self._reader is not None else await asyncio.to_thread(open_nvml, self._xids_file)
        self._reader = reader
        while True:
            self._again.clear()
            try:
                async with asyncio.timeout(self._options.inventory_timeout):
                    readings = await self._read(reader)
            except (TimeoutError, OSError) as error:
                log.warning("the GPUs cannot be read: %s", error or "no answer in time")
            else:
                if await self._take(readings):
                    on_change()
                self._known.set()
            await self._pause()

    async def _pause(self) -> None:
        """Nothing is polled where nothing can change: a machine without GPUs, or a made-up one at rest."""
        releasing = any(claim.releasing for claim in self._memory.claims.values())
        if self.devices is None:
            period: float | None = 1.0
        elif releasing:
            period = RELEASE_PERIOD
        else:
            period = WATCH_PERIOD if self._readings and self._reader is not None and self._reader.changes else None
        try:
            async with asyncio.timeout(period):
                await self._again.wait()
        except TimeoutError:
            pass

    def look_again(self) -> None:
        """Something happened that may have changed what the devices hold."""
        self._again.set()

    async def known(self) -> Sequence[Device]:
        """The devices of the pool, as soon as they have been read once.

        Raises:
            Unavailable: they were not read in time.
        """
        try:
            async with asyncio.timeout(self._options.inventory_timeout):
                await self._known.wait()
        except TimeoutError:
            raise Unavailable("the GPU inventory cannot be read", remedy="look at the daemon's log") from None
        return self.devices or ()

    def claimed(self) -> list[Claimed]:
        """Everything that is taken, claims being released included."""
        return self._memory.claimed()

    def reserve(self, turn: Turn, replica_id: str, shares: Sequence[GpuShare], slots: Sequence[int]) -> None:
        """Claim devices for a replica in this turn, in place of what it held before."""
        wanted = {(share.uuid, slot): share for share, slot in zip(shares, slots, strict=True)}
        for old in self._memory.claims_of(replica_id):
            if (old.uuid, old.slot) not in wanted:
                turn.release(old)
        for (uuid, slot), share in wanted.items():
            turn.claim(
                ClaimRecord(
                    uuid=uuid,
                    slot=slot,
                    index=share.index,
                    share=share.share,
                    replica_id=replica_id,
                    created_at=turn.now,
                )
            )

    def release(self, turn: Turn, replica_id: str) -> None:
        """Mark a replica's claims for release; they go once the devices' memory is seen free (`look_again`)."""
        for claim in self._memory.claims_of(replica_id):
            turn.claim(replace(claim, releasing=True))

    def view(self) -> list[Gpu]:
        """All devices of the pool, in all three ledgers.

        Raises:
            Unavailable: they have not been read yet.
        """
        if self.devices is None:
            raise Unavailable("the GPU inventory has not been read yet", remedy="ask again in a moment")
        return [self._gpu(reading) for reading in self._readings]

    def _gpu(self, reading: DeviceReading) -> Gpu:
        claims = [claim for claim in self._memory.claims.values() if claim.uuid == reading.uuid]
        granted = [
            r.id
            for r in self._memory.replicas.values()
            if r.state.holds_process and any(share.uuid == reading.uuid for share in r.gpus)
        ]
        return Gpu(
            uuid=reading.uuid,
            index=reading.index,
            name=reading.name,
            memory_total_bytes=reading.memory_total,
            memory_used_bytes=reading.memory_used,
            utilisation=reading.utilisation,
            temperature_c=reading.temperature,
            power_w=reading.power,
            numa_node=reading.numa_node,
            links=reading.links,
            simulated=reading.simulated,
            claimed=[self._claim_view(claim) for claim in sorted(claims, key=lambda c: c.slot)],
            granted=sorted(granted),
            observed=[
                GpuProcess(pid=p.pid, memory_bytes=p.memory or 0, replica=self._owners.get(p.pid))
                for p in reading.processes
            ],
            conditions=list(self._conditions.get(reading.uuid, ())),
        )

    def _claim_view(self, claim: ClaimRecord) -> GpuClaim:
        record = self._memory.replicas.get(claim.replica_id)
        share = GpuShare(uuid=claim.uuid, index=claim.index, share=claim.share)
        return GpuClaim(replica=claim.replica_id, graph=record.graph if record is not None else "", share=share)

    async def _read(self, reader: GpuReader) -> tuple[list[DeviceReading], dict[int, str | None]]:
        """One reading in a thread that nobody has to wait for: a driver that hangs must not hang the engine."""
        if self._in_flight:
            raise OSError("an earlier reading has not come back yet")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[list[DeviceReading], dict[int, str | None]]] = loop.create_future()

        def finish(outcome: tuple[list[DeviceReading], dict[int, str | None]] | Exception) -> None:
            self._in_flight = False
            if done.done():
                return
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

        def work() -> None:
            try:
                found = reader.read()
                owners = {process.pid: owner_of(process.pid) for device in found for process in device.processes}
                loop.call_soon_threadsafe(finish, (found, owners))
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more
            except Exception as error:
                loop.call_soon_threadsafe(finish, error)

        self._in_flight = True
        threading.Thread(target=work, name="gpu-reading", daemon=True).start()
        return await done

    async def _take(self, found: tuple[list[DeviceReading], dict[int, str | None]]) -> bool:
        """Judge a reading, write what follows from it; whether anything that matters to placement changed."""
        mask = self._options.environ.get("CUDA_VISIBLE_DEVICES")
        self._readings, self._owners = pool(found[0], mask), found[1]
        verdict = assess(self._readings, list(self._memory.claims.values()), self._owners)
        changed = verdict.devices != self.devices or bool(verdict.freed)
        self.devices = verdict.devices
        await self._write(verdict)
        return changed

    async def _write(self, verdict: Assessment) -> None:
        transaction = Transaction()
        known = {reading.uuid for reading in self._readings}
        gone = [c for c in self._memory.claims.values() if c.releasing and c.uuid not in known]
        for claim in (*verdict.freed, *gone):
            transaction.delete(
                tables.gpu_claims, uuid=claim.uuid, slot=claim.slot, replica_id=claim.replica_id, releasing=True
            )
            transaction.event(self._draft(Action.GPU_RELEASED, claim, "its memory was seen free"))
        for uuid, texts in verdict.conditions.items():
            for text in set(texts) - set(self._conditions.get(uuid, ())):
                self._note_condition(transaction, verdict, uuid, text)
        self._conditions = verdict.conditions
        if transaction:
            await self._store.commit(transaction, lambda events: self._written((*verdict.freed, *gone), events))

    def _note_condition(self, transaction: Transaction, verdict: Assessment, uuid: str, text: str) -> None:
        """An event for the device, or one for each replica that claims it, so that `why` finds it there."""
        index = next(device.index for device in verdict.devices if device.uuid == uuid)
        data = {"uuid": uuid, "index": index, "condition": text}
        holding = {claim.replica_id for claim in self._memory.claims.values() if claim.uuid == uuid}
        holders: list[ReplicaRecord | None] = [
            self._memory.replicas[replica_id] for replica_id in sorted(holding) if replica_id in self._memory.replicas
        ]
        for record in holders or [None]:
            transaction.event(
                Draft(
                    at=self._now(),
                    actor=ENGINE,
                    action=Action.GPU_CONDITION,
                    project=record.project if record is not None else None,
                    graph=record.graph if record is not None else None,
                    service=record.service if record is not None else None,
                    replica=record.id if record is not None else None,
                    reason=Reason.GPU_UNAVAILABLE,
                    message=f"GPU {index}: {text}",
                    data=data,
                )
            )

    def _written(self, freed: Sequence[ClaimRecord], events: list[Event]) -> None:
        for claim in freed:
            now = self._memory.claims.get((claim.uuid, claim.slot))
            if now is not None and now.releasing and now.replica_id == claim.replica_id:
                del self._memory.claims[claim.uuid, claim.slot]
        self._feed.publish(events)

    def _draft(self, action: Action, claim: ClaimRecord, message: str) -> Draft:
        record = self._memory.replicas.get(claim.replica_id)
        return Draft(
            at=self._now(),
            actor=ENGINE,
            action=action,
            project=record.project if record is not None else None,
            graph=record.graph if record is not None else None,
            service=record.service if record is not None else None,
            replica=claim.replica_id,
            message=f"GPU {claim.index}: {message}",
            data={"uuid": claim.uuid, "index": claim.index, "share": claim.share},
        )
