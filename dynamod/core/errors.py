"""Why the engine refuses or fails. Each error carries data and reads as one line: what, on what, what to do.

    EngineError
    ├── Invalid             an input is wrong; `field` names it
    ├── NotFound            no such project, graph, service, replica, revision or plan
    ├── Conflict            it contradicts what is there
    │   ├── StalePlan       the world moved since the plan was made
    │   └── PreconditionFailed   If-Match names another version
    ├── GpuShortage         too few GPUs; says what is missing
    ├── Gone                the events asked for are no longer kept, or are another store's
    ├── SlowConsumer        a subscriber fell too far behind and was dropped
    ├── StoreError          the database cannot be opened, migrated or written
    │   └── DiskFull        there is no room for it
    └── Unavailable         cannot be done now: stopping, a backend out of reach

`type` is stable and ends up in problem documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dynamod.schema.states import Reason


class EngineError(Exception):
    """The root. `remedy` says what to do; `reason` is the wire vocabulary's word for it, where it has one."""

    type = "engine-error"
    reason: Reason | None = None

    def __init__(self, detail: str, *, remedy: str | None = None, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
        self.field = field

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        what = f"{where}{self.detail}"
        return f"{what}; {self.remedy}" if self.remedy else what


def reported(told: Mapping[str, Any]) -> EngineError:
    """The error that a program of ours has told (see `dynamod.program`), under the same type."""
    error = EngineError(str(told["error"]), remedy=told.get("remedy"), field=told.get("field"))
    error.type = told.get("type") or EngineError.type
    return error


class Invalid(EngineError):
    type = "invalid"

    def __init__(self, detail: str, *, field: str, remedy: str | None = None) -> None:
        super().__init__(detail, field=field, remedy=remedy)


class NotFound(EngineError):
    """`kind` is `graph`, `replica`, … and `name` what was asked for."""

    type = "not-found"

    def __init__(self, kind: str, name: str, *, known: Sequence[str] = (), remedy: str | None = None) -> None:
        there = f"; there is {', '.join(sorted(known)[:10])}" if known else ""
        super().__init__(f"there is no {kind} {name!r}{there}", remedy=remedy)
        self.kind = kind
        self.name = name


class Conflict(EngineError):
    type = "conflict"
    reason = Reason.CONFLICT


class StalePlan(Conflict):
    type = "stale-plan"

    def __init__(self, plan_id: str, graph: str) -> None:
        super().__init__(
            f"plan {plan_id} was made from an earlier state of graph {graph!r}", remedy="make a new plan and apply that"
        )
        self.plan_id = plan_id


class PreconditionFailed(Conflict):
    type = "precondition-failed"

    def __init__(self, graph: str, expected: str, actual: str) -> None:
        super().__init__(
            f"graph {graph!r} is at version {actual}, not {expected}", remedy="read it again and repeat the change"
        )
        self.expected = expected
        self.actual = actual


class GpuShortage(EngineError):
    """`wanted` and `available` in devices; `reasons` says of each device why it does not serve."""

    type = "gpu-shortage"
    reason = Reason.GPU_UNAVAILABLE

    def __init__(self, detail: str, *, wanted: float, available: float, reasons: Sequence[str] = ()) -> None:
        told = f" ({'; '.join(reasons)})" if reasons else ""
        super().__init__(
            f"{detail}{told}", field="resources.gpu", remedy="ask for fewer, or free some (see the GPU list)"
        )
        self.wanted = wanted
        self.available = available
        self.reasons = tuple(reasons)


class Gone(EngineError):
    """`oldest` is the first sequence number that is still kept; `last` the newest one, where `after` is beyond it."""

    type = "gone"

    def __init__(self, after: int, *, oldest: int | None = None, last: int | None = None) -> None:
        if last is None:
            detail = f"events after {after} are no longer kept; the oldest is {oldest}"
        else:
            detail = f"there is no event {after} in this store, whose last is {last}"
        super().__init__(detail, remedy="take a fresh snapshot")
        self.after = after
        self.oldest = oldest
        self.last = last


class SlowConsumer(EngineError):
    type = "slow-consumer"

    def __init__(self, dropped_after: int) -> None:
        super().__init__(
            f"this subscriber fell behind and was dropped after event {dropped_after}",
            remedy="subscribe again from there",
        )
        self.dropped_after = dropped_after


class StoreError(EngineError):
    type = "store"


class DiskFull(StoreError):
    type = "disk-full"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: the disk is full", remedy="make room where the state directory is, and try again")


class Unavailable(EngineError):
    type = "unavailable"
