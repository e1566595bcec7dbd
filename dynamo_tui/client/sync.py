"""The synchronous transport, on the standard library alone: `dynamoctl ps` must start in a blink."""

from __future__ import annotations

import http.client
import select
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import IO, Generic, Self, TypeVar
from urllib.parse import urlsplit

from dynamo_tui.client.contexts import LOCAL, Context
from dynamo_tui.client.errors import ClientError, ProtocolError, StreamLost, Unavailable, Unreachable
from dynamo_tui.client.exchange import Answer, Call, StreamCall, check, read_answer, request_headers
from dynamo_tui.client.resume import Resumption
from dynamo_tui.client.sse import EventParser, EventTooLarge, ServerEvent

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
SILENCE_TIMEOUT_S = 45.0
"""The daemon sends a comment every 15 s on a quiet stream; three missed ones mean that it is gone."""
MAX_PROBLEM_BYTES = 1024 * 1024


class Client:
    """One daemon, spoken to from one thread. Close it, or use it in a `with`.

    Raises (every method): Unreachable, VersionMismatch, ProtocolError, and ApiError's family.
    """

    def __init__(
        self, context: Context, *, timeout: float = ANSWER_TIMEOUT_S, connect_timeout: float = CONNECT_TIMEOUT_S
    ) -> None:
        self.context = context
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def send(self, call: Call[T]) -> T:
        """Carry out one call."""
        return self.answer(call).value

    def answer(self, call: Call[T]) -> Answer[T]:
        """Carry out one call and keep what HTTP says: status and etag."""
        return self._answer(call, call.body)

    def upload(self, call: Call[T], file: IO[bytes], size: int) -> Answer[T]:
        """Carry out a call whose body is a file of `size` bytes; it is never read into memory whole."""
        return self._answer(replace(call, headers={**call.headers, "Content-Length": str(size)}), file)

    def download(self, call: Call[None], target: IO[bytes]) -> None:
        """Carry out a call whose answer is plain bytes, and write them to `target`."""
        self._answer(call, call.body, target)

    def _answer(self, call: Call[T], body: bytes | IO[bytes] | None, target: IO[bytes] | None = None) -> Answer[T]:
        if self._connection is not None and _has_ended(self._connection):
            self.close()  # the daemon closes idle connections, and a new daemon knows nothing of old ones
        try:
            return self._exchange(call, body, target)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise self._failure(error) from error

    def stream(
        self, call: StreamCall[T], *, last_event_id: str | None = None, deadline: float | None = None
    ) -> Stream[T]:
        """Open one stream. It ends with StreamLost, for a live stream never ends on its own; see `follow`.

        `deadline`: when it ends at the latest, on the monotonic clock.
        """
        return Stream(self, call, Resumption(last_event_id), deadline)

    def follow(
        self, call: StreamCall[T], *, pause: Callable[[ClientError, float], None], last_event_id: str | None = None
    ) -> Iterator[T]:
        """The stream, resumed where it was whenever it breaks.

        `pause(error, delay)` is to sleep that long between two attempts; what it raises ends the iteration.

        Raises:
            Gone: the daemon no longer keeps what is needed to resume without a gap.
            Unreachable: the very first connection failed.
        """
        resumption = Resumption(last_event_id)
        first = True
        while True:
            try:
                with Stream(self, call, resumption, None) as items:
                    first = False
                    yield from items
            except (StreamLost, Unavailable, Unreachable) as error:
                if first and isinstance(error, Unreachable):
                    raise
                pause(error, resumption.next_delay())

    def _exchange(self, call: Call[T], body: bytes | IO[bytes] | None, target: IO[bytes] | None) -> Answer[T]:
        if self._connection is None:
            self._connection = self.connect(self._timeout)
        connection = self._connection
        if connection.sock is not None:
            connection.sock.settimeout(call.timeout or self._timeout)
        headers = request_headers(self.context.token, call.headers, body=bool(body))
        connection.request(call.method, call.target, body=body, headers=headers)
        response = connection.getresponse()
        if target is not None and 200 <= response.status < 300:
            shutil.copyfileobj(response, target)
            data = b""
        else:
            data = response.read()
        if response.will_close:
            self.close()
        return read_answer(call, response.status, {k.lower(): v for k, v in response.getheaders()}, data)

    def connect(self, timeout: float) -> http.client.HTTPConnection:
        """A new connection that is established; afterwards every read has `timeout` seconds."""
        connection: http.client.HTTPConnection
        if self.context.socket is not None:
            connection = _UnixConnection(self.context.socket, self._connect_timeout)
        else:
            parts = urlsplit(self.context.url or "")
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            connection = kind(parts.hostname or "localhost", parts.port, timeout=self._connect_timeout)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise self._failure(error) from error
        connection.sock.settimeout(timeout)
        return connection

    def _failure(self, error: Exception) -> ClientError:
        if isinstance(error, TimeoutError):
            cause = "no answer in time"
        elif isinstance(error, OSError):
            cause = error.strerror or str(error)
        else:
            return ProtocolError(f"{self.context.address} does not answer as a daemon does: {error!r}")
        return unreachable(self.context, cause)


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """An idle connection that can be read from has been closed by the other side."""
    return connection.sock is None or bool(select.select([connection.sock], [], [], 0)[0])


class Stream(Generic[T]):
    """An open stream: iterate it, and close it (or leave its `with`) to cancel. Connected once constructed."""

    def __init__(self, client: Client, call: StreamCall[T], resumption: Resumption, deadline: float | None) -> None:
        self._call = call
        self._deadline = deadline
        self._resumption = resumption
        self._parser = EventParser()
        self._ready: list[ServerEvent] = []
        self._connection = client.connect(self._patience())
        try:
            with_body = call.body is not None
            headers = request_headers(client.context.token, resumption.headers(), body=with_body, stream=True)
            self._connection.request(call.method, call.target, body=call.body, headers=headers)
            self._response = self._connection.getresponse()
            ok = 200 <= self._response.status < 300
            body = b"" if ok else self._response.read(MAX_PROBLEM_BYTES)
            check(self._response.status, {k.lower(): v for k, v in self._response.getheaders()}, body)
        except (http.client.HTTPException, OSError) as error:
            self._connection.close()
            raise StreamLost(f"the stream {call.path} could not be opened: {error!r}") from error
        except BaseException:
            self._connection.close()
            raise
        resumption.connected()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        while True:
            while self._ready:
                event = self._ready.pop(0)
                self._resumption.seen(event.id)
                item = self._call.decode(event)
                if item is not None:
                    return item
            self._ready = self._read()

    def close(self) -> None:
        """Cancel. Safe to call twice, and from another thread: the reader then gets StreamLost."""
        sock = self._connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._response.close()
        self._connection.close()

    def _patience(self) -> float:
        """Seconds to wait for the next byte."""
        if self._deadline is None:
            return SILENCE_TIMEOUT_S
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise StreamLost(f"the time for the stream {self._call.path} is over")
        return min(left, SILENCE_TIMEOUT_S)

    def _read(self) -> list[ServerEvent]:
        patience = self._patience()
        try:
            if self._connection.sock is not None:
                self._connection.sock.settimeout(patience)
            chunk = self._response.read1(65536)
        except TimeoutError:
            raise StreamLost(f"the stream {self._call.path} was silent for {patience:.0f} s") from None
        except http.client.IncompleteRead:
            chunk = b""
        except (http.client.HTTPException, OSError, ValueError, AttributeError) as error:
            # the last two are how http.client reports a response that another thread closed
            raise StreamLost(f"the stream {self._call.path} broke: {error}") from error
        if not chunk:
            raise StreamLost(f"the daemon ended the stream {self._call.path}")
        try:
            return self._parser.feed(chunk)
        except EventTooLarge as error:
            raise ProtocolError(str(error)) from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def unreachable(context: Context, cause: str) -> Unreachable:
    """The error for a daemon that does not answer, with what to do about it."""
    local = context.name == LOCAL
    if local:
        remedy = "start it: `dynamoctl daemon start`"
    elif context.socket is not None:
        remedy = "check that it still runs: `dynamoctl config list` shows all contexts"
    else:
        remedy = "check the URL and that the daemon listens there: `dynamoctl config list`"
    return Unreachable(context.address, cause, local=local, remedy=remedy)
