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
from typing import TYPE_CHECKING

import msgspec

from dynamod.core.errors import Conflict, EngineError, Unavailable
from dynamod.schema.states import Reason

if TYPE_CHECKING:
    import httpx2


NOT_FOUND = 404


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
    reason = Reason.REFUSED

    def __init__(self, on: str, code: int, detail: str) -> None:
        remedy = "the cluster has no such kind: leave it out (docs/kubernetes.md)" if code == NOT_FOUND else None
        super().__init__(f"{on}: {detail}", remedy=remedy)
        self.on = on
        self.code = code


@contextmanager
def translated(server: str, on: str, *, missing_is_fine: bool = False) -> Iterator[None]:
    """The client's errors as ours. `on` is what the request was about; what is not there may be fine."""
    import httpx2
    from httpx2.websockets import HTTPXWSException, WebSocketUpgradeError
    from lightkube.core.exceptions import ApiError

    try:
        yield
    except ApiError as error:
        code, words = error.status.code or 0, " ".join((error.status.message or "").split())
        if not (code == 404 and missing_is_fine):
            raise _refusal(on, code, words) from None
    except (httpx2.HTTPStatusError, WebSocketUpgradeError) as error:
        # A whole API group that is not there answers in plain text; so do the streams of a pod.
        code = error.response.status_code
        if not (code == 404 and missing_is_fine):
            raise _refusal(on, code, _said(error.response)) from None
    except (httpx2.HTTPError, HTTPXWSException) as error:
        raise ClusterUnreachable(server, str(error) or type(error).__name__) from None


def _refusal(on: str, code: int, words: str) -> EngineError:
    if code in (401, 403):
        return AccessForbidden(on, words)
    if code == 409:
        return FieldConflict(on, words)
    return ClusterRefused(on, code, words)


def _said(response: httpx2.Response) -> str:
    """The server's own words where they were read: those of a `Status`, or plain text."""
    try:
        text = response.text
    except RuntimeError:  # a stream whose body nobody has read
        return response.reason_phrase
    try:
        return str(msgspec.json.decode(text)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return " ".join(text.split()) or response.reason_phrase


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


@contextmanager
def one_leaf() -> Iterator[None]:
    """An error that a library has wrapped in groups of one, as itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaf = _leaf(group)
        if isinstance(leaf, Exception):
            raise leaf from None
        raise


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
