"""What is asked of the daemon and how its answer is read, without any I/O.

A `Call[T]` is one request that answers a T; a `StreamCall[T]` one that answers a stream of T. Transports
(`sync`, `aio`) carry them; nothing here knows how.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote, urlencode

import msgspec

from dynamo.sdk.spec import UNREADABLE
from dynamo_tui.client.errors import ProtocolError, VersionMismatch, api_error
from dynamo_tui.client.sse import ServerEvent
from dynamod.schema.daemon import API_VERSION, API_VERSION_HEADER

T = TypeVar("T")

Query = Mapping[str, str | int | float | bool | None]
"""Query parameters; those that are None are left out."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `result` is the type that a 2xx body is decoded into: `str` takes it as text, None ignores it.

    `timeout`: seconds to wait for the answer, where that may be longer than the client's own.
    """

    method: str
    path: str
    result: type[T] | None
    query: Query = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None

    @property
    def target(self) -> str:
        return target(self.path, self.query)


@dataclass(frozen=True, slots=True)
class StreamCall(Generic[T]):
    """A stream of server-sent events. `types` maps an event's name to what its data is decoded into.

    `bytes` leaves it as it came. Events of other names are passed over, so that a newer daemon can add some; `problem`
    is how a daemon ends a stream, and is raised. With a `body` it is a POST, whose work ends when the stream is left.
    """

    path: str
    types: Mapping[str, Any]
    query: Query = field(default_factory=dict)
    body: bytes | None = None

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"

    @property
    def target(self) -> str:
        return target(self.path, self.query)

    def decode(self, event: ServerEvent) -> T | None:
        """The item that an event carries, or None when it is not one of ours.

        Raises:
            ApiError: the daemon ends the stream, and says why.
            ProtocolError: the data is not what the event's name promises.
        """
        if event.event == "problem":
            raise api_error(0, event.data)
        wanted = self.types.get(event.event)
        if wanted is None:
            return None
        if wanted is bytes:
            return cast("T", event.data)
        try:
            return cast("T", _decoder(wanted).decode(event.data))
        except UNREADABLE as error:
            raise ProtocolError(f"{self.path}: unreadable event {event.event!r}: {error}") from None


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A decoded answer together with what HTTP says about it."""

    value: T
    status: int
    etag: str | None = None


def path_part(text: str) -> str:
    """One segment of a path, quoted."""
    return quote(text, safe="")


def target(path: str, query: Query) -> str:
    """Path and query as they stand in a request line."""
    pairs = [(k, _text(v)) for k, v in query.items() if v is not None]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def request_headers(token: str | None, extra: Mapping[str, str], *, body: bool, stream: bool = False) -> dict[str, str]:
    """The headers of every request, with those of the call on top."""
    headers = {API_VERSION_HEADER: API_VERSION, "Accept": "text/event-stream" if stream else "application/json"}
    if body:
        headers["Content-Type"] = "application/json"
    if token:
        headers["Authorization"] = f"Bearer {token}"
    headers.update(extra)
    return headers


def read_answer(call: Call[T], status: int, headers: Mapping[str, str], body: bytes) -> Answer[T]:
    """Decode an answer. `headers` has lower-case names.

    Raises:
        VersionMismatch: the daemon speaks another API version.
        ApiError: the status is outside 2xx.
        ProtocolError: the body is not what the call promises.
    """
    check(status, headers, body)
    value: Any
    if call.result is None:
        value = None
    elif call.result is str:
        value = body.decode("utf-8", "replace")
    else:
        try:
            value = _decoder(cast("Any", call.result)).decode(body)
        except UNREADABLE as error:
            raise ProtocolError(
                f"{call.method} {call.path}: unreadable answer: {error}",
                remedy="check that client and daemon have the same version (`dynamoctl env`)",
            ) from None
    return Answer(value=value, status=status, etag=headers.get("etag"))


def check(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise what an answer's status and version header call for."""
    theirs = headers.get(API_VERSION_HEADER.lower())
    if theirs is not None and theirs != API_VERSION:
        raise VersionMismatch(API_VERSION, theirs)
    if not 200 <= status < 300:
        raise api_error(status, body)


@functools.cache
def _decoder(wanted: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(wanted)


def _text(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
