"""The three GPU ledgers reconciled: what is claimed, what is granted, and what was observed on the devices. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from dynamod.core import xids
from dynamod.core.allocation import Device
from dynamod.core.records import ClaimRecord

IDLE_BYTES = 1 << 30
IDLE_SHARE = 0.02
"""A device whose unexplained memory is below the larger of the two counts as free: drivers keep some for themselves."""

OVER_BUDGET_SLACK = 1.05


class ProcessReading(msgspec.Struct, frozen=True):
    """`memory` in bytes; None where the driver does not tell."""

    pid: int
    memory: int | None = None


class DeviceReading(msgspec.Struct, frozen=True, kw_only=True):
    """One device as it was read. Memory in bytes, power in watts, utilisation from 0 to 1.

    `links` counts NVLink connections by the other device's UUID. `fault` says why it cannot be used. `xids` are the
    numbers of the driver's Xid errors: those of the device until it is reset, those of programs as they occur.
    """

    uuid: str
    index: int
    name: str
    memory_total: int
    memory_used: int | None = None
    utilisation: float | None = None
    temperature: float | None = None
    power: float | None = None
    numa_node: int | None = None
    links: dict[str, int] = {}
    processes: tuple[ProcessReading, ...] = ()
    fault: str = ""
    xids: tuple[int, ...] = ()
    simulated: bool = False


@dataclass(frozen=True)
class Assessment:
    """`devices` for the allocator; `conditions` by UUID; `freed` are claims whose memory was seen released."""

    devices: tuple[Device, ...]
    conditions: Mapping[str, tuple[str, ...]]
    freed: tuple[ClaimRecord, ...]


def assess(
    readings: Sequence[DeviceReading], claims: Sequence[ClaimRecord], owners: Mapping[int, str | None]
) -> Assessment:
    """`owners` names the replica that a process belongs to, None for a process that is not ours."""
    devices: list[Device] = []
    conditions: dict[str, tuple[str, ...]] = {}
    freed: list[ClaimRecord] = []
    for reading in readings:
        mine = [claim for claim in claims if claim.uuid == reading.uuid]
        found, blocked = _conditions(reading, mine, owners)
        conditions[reading.uuid] = tuple(found)
        freed += [claim for claim in mine if claim.releasing and _is_free(reading, claim, mine, owners)]
        devices.append(
            Device(
                uuid=reading.uuid,
                index=reading.index,
                name=reading.name,
                memory_total=reading.memory_total,
                numa_node=reading.numa_node,
                links=reading.links,
                blocked=blocked,
                faulty=bool(reading.fault) or any(map(xids.is_of_device, reading.xids)),
                simulated=reading.simulated,
            )
        )
    return Assessment(tuple(devices), conditions, tuple(freed))


def _conditions(
    reading: DeviceReading, claims: Sequence[ClaimRecord], owners: Mapping[int, str | None]
) -> tuple[list[str], str]:
    """What is noteworthy about a device, and why it cannot be given out (empty when it can)."""
    found: list[str] = []
    blocked = ""
    if reading.fault:
        blocked = f"faulty: {reading.fault}"
        found.append(blocked)
    for xid in reading.xids:
        found.append(xids.describe(xid))
        if xids.is_of_device(xid):
            blocked = blocked or found[-1]
    holders = {claim.replica_id: claim for claim in claims}
    for process in reading.processes:
        owner = owners.get(process.pid)
        if owner is None:
            text = f"foreign: process {process.pid} holds {_size(process.memory)}"
        elif owner not in holders:
            text = f"leaked: process {process.pid} of {owner}, which claims nothing here, holds {_size(process.memory)}"
        elif holders[owner].releasing:
            text = f"leaked: process {process.pid} of the ended replica {owner} still holds {_size(process.memory)}"
        else:
            continue
        found.append(text)
        blocked = blocked or text
    if claims and all(claim.releasing for claim in claims) and not reading.processes and not _is_idle(reading, owners):
        text = f"leaked: {_size(reading.memory_used)} still held after {claims[0].replica_id} ended"
        found.append(text)
        blocked = blocked or text
    if not claims and not reading.processes and not _is_idle(reading, owners):
        text = f"leaked: {_size(reading.memory_used)} held by no process that can be seen"
        found.append(text)
        blocked = blocked or text
    found += _over_budget(reading, claims, owners)
    return found, blocked


def _over_budget(reading: DeviceReading, claims: Sequence[ClaimRecord], owners: Mapping[int, str | None]) -> list[str]:
    """Fractions are advisory: a replica that takes more than its share of the memory is told of, not stopped."""
    found = []
    for claim in claims:
        used = sum(p.memory or 0 for p in reading.processes if owners.get(p.pid) == claim.replica_id)
        budget = claim.share * reading.memory_total
        if claim.share < 1.0 and used > budget * OVER_BUDGET_SLACK:
            found.append(f"over budget: {claim.replica_id} holds {_size(used)}, its share is {_size(int(budget))}")
    return found


def _is_free(
    reading: DeviceReading,
    claim: ClaimRecord,
    claims: Sequence[ClaimRecord],
    owners: Mapping[int, str | None],
) -> bool:
    """No process of the replica is left; and where nobody shares the device, its memory is free as well."""
    if any(owners.get(process.pid) == claim.replica_id for process in reading.processes):
        return False
    shared = any(other.replica_id != claim.replica_id and not other.releasing for other in claims)
    return shared or _is_idle(reading, owners)


def _is_idle(reading: DeviceReading, owners: Mapping[int, str | None]) -> bool:
    """Whether what is used is explained by processes that are not ours, or is the driver's own."""
    if reading.memory_used is None:
        return True
    foreign = sum(p.memory or 0 for p in reading.processes if owners.get(p.pid) is None)
    return reading.memory_used - foreign <= max(IDLE_BYTES, IDLE_SHARE * reading.memory_total)


def _size(count: int | None) -> str:
    return "memory" if count is None else f"{count / (1 << 30):.1f} GiB"
