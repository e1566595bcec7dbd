"""What can go wrong between a client and the daemon.

    ClientError
    ├── ContextError         no such context, or a context file that cannot be read
    ├── Unreachable          nobody answers at the address
    ├── VersionMismatch      the daemon speaks another API version
    ├── ProtocolError        an answer that is not what the API promises
    ├── DaemonProcessError   the local daemon could not be started or stopped
    ├── StreamLost           a stream broke off, or was silent for too long
    └── ApiError             the daemon said no, with a problem document
        ├── Invalid          400, 413, 422
        ├── Unauthorised     401, 403
        ├── NotFound         404
        ├── Conflict         409, 412
        ├── Gone             410: the place to resume from is no longer kept
        └── Unavailable      429, 503

Every error reads as one line; `remedy` says what to do about it, where that is known.
"""

from __future__ import annotations

import msgspec

from dynamo.sdk.spec import UNREADABLE
from dynamod.schema.daemon import Problem


class ClientError(Exception):
    """The root. `remedy` is a sentence that says what to do, or empty."""

    remedy: str = ""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        if remedy:
            self.remedy = remedy


class ContextError(ClientError):
    """A context that does not exist or a context file that cannot be read."""


class Unreachable(ClientError):
    """Nobody answers. `address` is the socket or URL; `local` says that it is this machine's default daemon."""

    def __init__(self, address: str, cause: str, *, local: bool, remedy: str = "") -> None:
        super().__init__(f"no daemon answers at {address} ({cause})", remedy=remedy)
        self.address = address
        self.cause = cause
        self.local = local


class DaemonProcessError(ClientError):
    """The local daemon's process did not come up, or did not end."""


class VersionMismatch(ClientError):
    """Client and daemon speak different versions of the API."""

    def __init__(self, ours: str, theirs: str) -> None:
        super().__init__(
            f"this client speaks API version {ours}, the daemon version {theirs}",
            remedy="upgrade the older side: `dynamoctl env` shows both versions",
        )
        self.ours = ours
        self.theirs = theirs


class ProtocolError(ClientError):
    """An answer that cannot be read as what the API promises."""


class StreamLost(ClientError):
    """A stream ended without being asked to. Following calls resume; a single stream raises it."""


class ApiError(ClientError):
    """The daemon refused. `problem` is its problem document."""

    def __init__(self, problem: Problem) -> None:
        message = problem.detail or problem.title
        if problem.field and problem.field not in message:
            message = f"{problem.field}: {message}"
        super().__init__(message, remedy=problem.remedy or "")
        self.problem = problem

    @property
    def status(self) -> int:
        return self.problem.status


class Invalid(ApiError):
    """The request itself is wrong; `problem.field` names the part."""


class Unauthorised(ApiError):
    """No token, a wrong one, or one that may only read."""


class NotFound(ApiError):
    """There is no such thing."""


class Conflict(ApiError):
    """The world has changed, or does not allow it."""


class Gone(ApiError):
    """The sequence to resume from is no longer kept: take a fresh snapshot."""


class Unavailable(ApiError):
    """Not now; try again."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorised,
    403: Unauthorised,
    404: NotFound,
    409: Conflict,
    410: Gone,
    412: Conflict,
    413: Invalid,
    422: Invalid,
    429: Unavailable,
    503: Unavailable,
}


def api_error(status: int, body: bytes) -> ApiError:
    """The error for an answer outside 2xx; a body that is no problem document becomes one.

    The document's own status goes first, for the last event of a stream has no other.
    """
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except UNREADABLE:
        text = body[:300].decode("utf-8", "replace").strip()
        problem = Problem(type="about:blank", title=f"HTTP status {status}", status=status, detail=text)
    return _BY_STATUS.get(problem.status or status, ApiError)(problem)
