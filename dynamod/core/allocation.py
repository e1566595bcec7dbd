"""The GPU allocator: a pure function of inventory, claims and request. It returns its reasons.

A request is a whole number of devices, or a fraction that shares one. Whole devices are chosen so that
they are linked (NVLink) or at least on one NUMA node, and so that what is left over stays as well linked
as it can. A fraction goes where it fits most tightly among devices that are shared already, else on the
free device that others will miss least. Fractions are advisory: nothing here enforces them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations, islice

import msgspec

from dynamod.schema.graphs import GpuShare

WHOLE = 1.0
_EPSILON = 1e-6
_LINK_WEIGHT = 100
_NUMA_WEIGHT = 1
_COMBINATIONS = 20_000
"""How many sets of devices are compared; a box of 16 has 12,870 sets of 8."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device of the pool. `links` counts NVLinks by the other device's UUID.

    `blocked` says why it cannot be used although nothing claims it: a foreign process, leaked memory, a fault.
    `faulty`: it is the device itself, so that there is no point in waiting for it.
    """

    uuid: str
    index: int
    name: str = ""
    memory_total: int = 0
    numa_node: int | None = None
    links: dict[str, int] = {}
    blocked: str = ""
    faulty: bool = False
    simulated: bool = False


class Claimed(msgspec.Struct, frozen=True):
    """A share of a device that is taken."""

    uuid: str
    share: float
    slot: int = 0
    holder: str = ""


class Granted(msgspec.Struct, frozen=True):
    """`reasons` say of every device why it was or was not taken."""

    shares: tuple[GpuShare, ...]
    slots: tuple[int, ...]
    reasons: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True):
    """`available` is how much of the request could be met, in devices."""

    detail: str
    wanted: float
    available: float
    reasons: tuple[str, ...]


def allocate(devices: Sequence[Device], claims: Iterable[Claimed], wanted: float) -> Granted | Refused:
    """Choose devices for one replica.

    Raises:
        ValueError: `wanted` is neither a whole number nor a fraction between 0 and 1.
    """
    taken: dict[str, list[Claimed]] = defaultdict(list)
    for claim in claims:
        taken[claim.uuid].append(claim)
    if 0 < wanted < WHOLE:
        return _fraction(devices, taken, wanted)
    if wanted < 0 or wanted != int(wanted):
        raise ValueError(f"a whole number of GPUs or a fraction below 1, not {wanted:g}")
    return _whole(devices, taken, int(wanted))


def shortage(devices: Sequence[Device], claims: Collection[Claimed], wanted: Iterable[float]) -> Refused | None:
    """The first of several requests that does not fit beside the others, largest first; None when all do."""
    held = list(claims)
    for request in sorted((w for w in wanted if w), reverse=True):
        outcome = allocate(devices, held, request)
        if isinstance(outcome, Refused):
            return outcome
        held += [
            Claimed(share.uuid, share.share, slot) for share, slot in zip(outcome.shares, outcome.slots, strict=True)
        ]
    return None


def _whole(devices: Sequence[Device], taken: dict[str, list[Claimed]], count: int) -> Granted | Refused:
    if count == 0:
        return Granted((), (), ("asks for no GPU",))
    free = [d for d in devices if not d.blocked and not taken.get(d.uuid)]
    refusals = [_refusal(d, taken) for d in devices if d not in free]
    if len(free) < count:
        detail = f"{_gpus(count)} wanted, {len(free)} of {len(devices)} free"
        return Refused(detail, float(count), float(len(free)), tuple(refusals))
    chosen = max(islice(combinations(free, count), _COMBINATIONS), key=lambda group: _rank(group, free))
    reasons = [f"GPU {d.index}: taken{_company(d, chosen)}" for d in chosen]
    reasons += [f"GPU {d.index}: free, left for others" for d in free if d not in chosen]
    return Granted(tuple(GpuShare(uuid=d.uuid, index=d.index) for d in chosen), (0,) * count, tuple(reasons + refusals))


def _fraction(devices: Sequence[Device], taken: dict[str, list[Claimed]], wanted: float) -> Granted | Refused:
    shared: list[tuple[float, int, Device]] = []
    free: list[Device] = []
    reasons: list[str] = []
    for device in devices:
        left = WHOLE - sum(claim.share for claim in taken.get(device.uuid, ()))
        if device.blocked or left < wanted - _EPSILON:
            reasons.append(_refusal(device, taken))
        elif taken.get(device.uuid):
            shared.append((left, device.index, device))
        else:
            free.append(device)
    if shared:
        left, _, device = min(shared, key=lambda entry: entry[:2])
        why = f"shared already, and {left:g} of it is free: the tightest fit"
    elif free:
        device = min(free, key=lambda d: (_score((d, *[o for o in free if o is not d])) - _left_over(d, free), d.index))
        why = "free, and the least missed by requests for several"
    else:
        best = max((WHOLE - sum(c.share for c in taken.get(d.uuid, ())) for d in devices if not d.blocked), default=0.0)
        detail = f"a share of {wanted:g} GPU wanted, at most {max(best, 0.0):g} of one is free"
        return Refused(detail, wanted, max(best, 0.0), tuple(reasons))
    others = [entry[2] for entry in shared] + free
    reasons = [
        f"GPU {device.index}: taken, {why}",
        *(f"GPU {d.index}: would do, fits less well" for d in others if d is not device),
        *reasons,
    ]
    used = {claim.slot for claim in taken.get(device.uuid, ())}
    slot = next(n for n in range(len(used) + 1) if n not in used)
    share = GpuShare(uuid=device.uuid, index=device.index, share=wanted)
    return Granted((share,), (slot,), tuple(reasons))


def _rank(group: Sequence[Device], free: Sequence[Device]) -> tuple[int, int, tuple[int, ...]]:
    """Well linked inside first, then what is left over, then low numbers."""
    rest = [d for d in free if d not in group]
    return _score(group), _score(rest), tuple(-d.index for d in group)


def _left_over(device: Device, free: Sequence[Device]) -> int:
    return _score([d for d in free if d is not device])


def _score(group: Sequence[Device]) -> int:
    """How near the devices of a group are to each other, over all pairs."""
    score = 0
    for a, b in combinations(group, 2):
        score += _LINK_WEIGHT * max(a.links.get(b.uuid, 0), b.links.get(a.uuid, 0))
        score += _NUMA_WEIGHT * (a.numa_node is not None and a.numa_node == b.numa_node)
    return score


def _company(device: Device, chosen: Sequence[Device]) -> str:
    others = [d for d in chosen if d is not device]
    linked = [str(d.index) for d in others if device.links.get(d.uuid, 0)]
    if linked:
        return f", linked to GPU {', '.join(linked)}"
    if others and all(d.numa_node is not None and d.numa_node == device.numa_node for d in others):
        return f", on NUMA node {device.numa_node} with the others"
    return ""


def _refusal(device: Device, taken: dict[str, list[Claimed]]) -> str:
    if device.blocked:
        return f"GPU {device.index}: {device.blocked}"
    held = taken.get(device.uuid, [])
    holders = ", ".join(sorted({claim.holder for claim in held if claim.holder})) or "this request"
    share = sum(claim.share for claim in held)
    return f"GPU {device.index}: {'claimed' if share > WHOLE - _EPSILON else f'{share:g} of it claimed'} by {holders}"


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
