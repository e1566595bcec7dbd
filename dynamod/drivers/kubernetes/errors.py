"""Why a cluster refuses or fails, in one line each.

EngineError
├── Conflict
│   └── FieldConflict        somebody else manages what we would set
├── Unavailable
│   └── ClusterUnreachable   no API server answers
├── AccessForbidden          it answers and does not let us
└── ClusterRefused           it takes what we sent for wrong, or lacks what it needs
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dynamod.core.errors import Conflict, EngineError, Unavailable
from dynamod.schema.states import Reason


class FieldConflict(Conflict):
    """`on` is the object, `kind/name`."""

    type = "field-conflict"

    def __init__(self, on: str, detail: str) -> None:
        super().__init__(
            f"{on}: {detail}",
            remedy="let the other manager give the fields up, or take them with force",
        )
        self.on = on


class ClusterUnreachable(Unavailable):
    type = "cluster-unreachable"
    reason = Reason.BACKEND_UNREACHABLE

    def __init__(self, server: str, detail: str) -> None:
        super().__init__(
            f"the cluster at {server} does not answer: {detail}", remedy="check the context and the network"
        )
        self.server = server


class AccessForbidden(EngineError):
    """`on` is what was asked for."""

    type = "access-forbidden"
    reason = Reason.FORBIDDEN

    def __init__(self, on: str, detail: str) -> None:
        super().__init__(
            f"{on}: {detail}", remedy="have a role bound that allows it; docs/kubernetes.md lists the verbs"
        )
        self.on = on


class ClusterRefused(EngineError):
    """`code` is the HTTP status."""

    type = "cluster-refused"

    def __init__(self, on: str, code: int, detail: str) -> None:
        super().__init__(f"{on}: {detail}")
        self.on = on
        self.code = code


@contextmanager
def one_error() -> Iterator[None]:
    """Of what tasks side by side ran into, the first error of ours alone: the others have the same cause."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours = group.subgroup(EngineError)
        if ours is None or group.subgroup(lambda error: not isinstance(error, (EngineError, BaseExceptionGroup))):
            raise
        raise _leaf(ours) from None


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
