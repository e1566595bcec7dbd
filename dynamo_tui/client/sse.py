"""Server-sent events, parsed without I/O.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""A stream whose single event grows beyond this is refused rather than held in memory."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event. `id` is the last id seen on the stream, which is what a client resumes from."""

    event: str
    data: bytes
    id: str | None = None


class EventTooLarge(ValueError):
    """One event of a stream exceeds MAX_EVENT_BYTES."""


class EventParser:
    """Feed it the bytes of a stream as they come, get events as they are complete."""

    def __init__(self) -> None:
        self._pending = b""
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0
        self._started = False
        self.last_id: str | None = None
        self.retry_s: float | None = None

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that `chunk` completes, in order.

        Raises:
            EventTooLarge: an event without an end.
        """
        data = self._pending + chunk
        if not self._started and data:
            if data[:3] != b"\xef\xbb\xbf"[: len(data)]:
                self._started = True
            elif len(data) >= 3:
                data = data[3:]
                self._started = True
        lines, self._pending = _split(data)
        if self._size + len(self._pending) > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        events = []
        for line in lines:
            if line:
                self._field(line)
            elif (event := self._dispatch()) is not None:
                events.append(event)
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
            if self._size > MAX_EVENT_BYTES:
                raise EventTooLarge(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self.last_id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            self.retry_s = int(value) / 1000

    def _dispatch(self) -> ServerEvent | None:
        event, data = self._event, self._data
        self._event, self._data, self._size = "", [], 0
        if not data:
            return None
        return ServerEvent(event=event or "message", data=b"\n".join(data), id=self.last_id)


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """Complete lines (ended by LF, CRLF or CR) and the rest. A CR at the very end waits: an LF may follow."""
    if b"\r" not in data:
        *lines, rest = data.split(b"\n")
        return lines, rest
    tail = b""
    if data.endswith(b"\r"):
        data, tail = data[:-1], b"\r"
    *lines, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return lines, rest + tail
