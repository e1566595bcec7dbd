"""Server-sent events, parsed without I/O.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import msgspec

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""A stream whose single event grows beyond this is refused rather than held in memory."""


class ServerEvent(msgspec.Struct, frozen=True):
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
        # An empty line ends an event. Whole blocks are split at once: tens of thousands come in a second.
        *blocks, self._pending = _with_plain_ends(data).split(b"\n\n")
        if len(self._pending) > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        events = []
        for block in blocks:
            event = self._event(block)
            if event is not None:
                events.append(event)
        return events

    def _event(self, block: bytes) -> ServerEvent | None:
        name = ""
        data: list[bytes] = []
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.decode("utf-8", "replace")
            elif field == b"id" and b"\0" not in value:
                self.last_id = value.decode("utf-8", "replace")
            elif field == b"retry" and value.isdigit():
                self.retry_s = int(value) / 1000
        if not data:
            return None
        return ServerEvent(name or "message", data[0] if len(data) == 1 else b"\n".join(data), self.last_id)


def _with_plain_ends(data: bytes) -> bytes:
    """Lines ended by LF alone, not by CRLF or CR. A CR at the very end stays: an LF may follow."""
    if b"\r" not in data:
        return data
    if data.endswith(b"\r"):
        return data[:-1].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + b"\r"
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
