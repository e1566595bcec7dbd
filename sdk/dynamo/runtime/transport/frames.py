"""The frames of the stream transport, without I/O (docs/protocol.md is the specification).

A frame is a big-endian u32 length and one msgpack array of that many bytes. The array alternates keys and
bodies. A positive key is a stream id and its body one item of that stream; a key from -1 down is an
operation and its body the operand. One frame so carries what a whole loop turn had to say on all streams.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec

from dynamo.runtime.errors import DynamoRuntimeError

VERSION: Final = 1

# Operations: key on the wire. The comment gives the body.
REQUEST: Final = -1  # [stream, target, payload, headers or nil]
RESULT: Final = -2  # [stream, item]: a single item and the end in one
END: Final = -3  # stream
ERROR: Final = -4  # [stream, code, type, message]
CANCEL: Final = -5  # stream
CREDIT: Final = -6  # [stream, items]
WEIGHT: Final = -7  # [stream, credits]: what the item just before costs beyond one
PING: Final = -8  # number
PONG: Final = -9  # the ping's number
HELLO: Final = -10  # {"version": 1, "connection": id, "max_frame": bytes}
GOAWAY: Final = -11  # reason: no new requests on this connection

KEYS: Final = {op: msgspec.msgpack.encode(op) for op in range(GOAWAY, 0)}

CREDITS: Final = 256  # items that a stream may have under way before its reader takes some
CREDIT_BYTES: Final = 4096  # an item of more bytes costs one credit for each such piece
MAX_FRAME: Final = 64 << 20  # default limit of one frame, bytes
MAX_STREAMS: Final = 65536  # open streams on one connection
FLUSH_BYTES: Final = 64 << 10  # what is written at once instead of at the end of the loop turn

PREFIX: Final = bytes(9)  # room for length, array marker and count before the pairs
_HEAD = struct.Struct(">IBI")
_LENGTH = struct.Struct(">I")
_ARRAY32 = 0xDD
_FIRST_BUFFER = 64 << 10
_KEEP_BUFFER = 4 << 20

_decode = msgspec.msgpack.Decoder().decode
encode_key = msgspec.msgpack.Encoder().encode


class ProtocolError(DynamoRuntimeError):
    """The peer sent what the protocol does not allow. It ends the connection, nothing else."""


def seal(frame: bytearray, pairs: int) -> None:
    """Fill in the prefix of a frame that holds `pairs` pairs after it."""
    _HEAD.pack_into(frame, 0, len(frame) - 4, _ARRAY32, pairs * 2)


class FrameReader:
    """Turns received bytes into decoded frames.

    The transport writes straight into `buffer()`; `received(n)` then gives the complete frames. Bytes are
    copied only when an incomplete frame has to move to make room.
    """

    __slots__ = ("_buffer", "_end", "_max", "_start", "_stop", "_view")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._start = self._end = 0
        self._allocate(_FIRST_BUFFER)

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty.

        Within a big frame it ends where the frame does, so that the next one starts in an empty buffer and
        nothing has to be moved.
        """
        return self._view[self._end : self._stop]

    def received(self, count: int) -> list[list[Any]]:
        """The frames that `count` more bytes complete. Raises `ProtocolError` on anything but frames."""
        frames: list[list[Any]] = []
        pos, end, view = self._start, self._end + count, self._view
        missing = 4
        while end - pos >= 4:
            (size,) = _LENGTH.unpack_from(view, pos)
            if size > self._max:
                raise ProtocolError(f"a frame of {size} bytes is over the limit of {self._max}")
            stop = pos + 4 + size
            if stop > end:
                missing = 4 + size
                break
            frames.append(self._decode(view[pos + 4 : stop]))
            pos = stop
        self._keep(pos, end, missing)
        return frames

    @staticmethod
    def _decode(body: memoryview) -> list[Any]:
        try:
            pairs = _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, RecursionError, OverflowError) as error:
            raise ProtocolError(f"a frame is not msgpack: {error}") from error
        if type(pairs) is not list or len(pairs) & 1:
            raise ProtocolError("a frame is not an array of pairs")
        return pairs

    def _keep(self, pos: int, end: int, missing: int) -> None:
        """Make room for an incomplete frame of `missing` bytes that starts at `pos`."""
        rest = end - pos
        size = len(self._buffer)
        if rest == 0:
            self._start = self._end = 0
            if size > _KEEP_BUFFER:
                self._allocate(_FIRST_BUFFER)
        elif missing > size - pos or end == size:
            old = self._view[pos:end]
            if missing > size:
                self._allocate(missing)
                self._view[:rest] = old
            else:
                self._view[:rest] = bytes(old)
            self._start, self._end = 0, rest
        else:
            self._start, self._end = pos, end
        self._stop = self._start + missing if missing > _FIRST_BUFFER else len(self._buffer)

    def _allocate(self, size: int) -> None:
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._stop = size
