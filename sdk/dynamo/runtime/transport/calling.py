"""The calling end of a connection: opens streams and hands what arrives to their `Call`s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dynamo.runtime.errors import (
    Cancelled,
    FrameTooLarge,
    InstanceLost,
    InstanceUnavailable,
    InvalidPayload,
    RequestError,
    error_from_wire,
)
from dynamo.runtime.transport import frames
from dynamo.runtime.transport.base import Call
from dynamo.runtime.transport.codec import ENCODE_ERRORS
from dynamo.runtime.transport.connection import Connection, Limits, new_connection_id

_REQUEST = frames.KEYS[frames.REQUEST]
_CANCEL = frames.KEYS[frames.CANCEL]
_CREDIT = frames.KEYS[frames.CREDIT]
_HALF = frames.CREDITS // 2


class StreamCall(Call):
    """One stream on a `CallingConnection`."""

    __slots__ = ("_connection", "_extra", "_owed", "_stream", "endpoint")

    def __init__(self, connection: CallingConnection, stream: int, endpoint: str, instance_id: int) -> None:
        super().__init__(instance_id)
        self._connection = connection
        self._stream = stream
        self._owed = 0
        self._extra = 0
        self.endpoint = endpoint

    def weigh(self, credits: int) -> None:
        """The last item cost `credits` beyond one."""
        self._extra += credits

    def taken(self, count: int) -> None:
        owed = self._owed + count + self._extra
        if owed >= _HALF:
            self._connection.push(_CREDIT, (self._stream, owed))
            owed = 0
        self._extra = 0
        self._owed = owed

    def cancel(self) -> None:
        if not self.ended:
            self._connection.give_up(self._stream)
            self.finish(Cancelled("the caller cancelled the stream", endpoint=self.endpoint, instance=self.instance_id))
            self.items.clear()


class CallingConnection(Connection):
    """A connection that this process dialled. `on_lost` is called once when it is gone."""

    def __init__(self, limits: Limits, on_lost: Callable[[CallingConnection], None]) -> None:
        super().__init__(limits, new_connection_id())
        self.calls: dict[int, StreamCall] = {}
        self.going_away = ""
        self._on_lost = on_lost
        self._last = 0

    def open(
        self, target: str, payload: Any, headers: Mapping[str, Any] | None, instance_id: int, endpoint: str
    ) -> StreamCall:
        """Send a request. Raises `InstanceUnavailable`, `InvalidPayload` or `FrameTooLarge`; then nothing was sent."""
        if self.closed or self.going_away:
            reason = self.going_away or "the connection is closed"
            raise InstanceUnavailable(reason, endpoint=endpoint, instance=instance_id)
        stream = self._last + 1
        try:
            self.push(_REQUEST, (stream, target, payload, headers))
        except FrameTooLarge as error:
            raise FrameTooLarge(error.message, endpoint=endpoint, instance=instance_id) from None
        except ENCODE_ERRORS as error:
            reason = f"the payload cannot be encoded: {error}"
            raise InvalidPayload(reason, endpoint=endpoint, instance=instance_id) from error
        self._last = stream
        call = StreamCall(self, stream, endpoint, instance_id)
        self.calls[stream] = call
        return call

    def give_up(self, stream: int) -> None:
        """Tell the other side that nobody reads this stream any more."""
        if self.calls.pop(stream, None) is not None and not self.closed:
            self.push(_CANCEL, stream)

    def _frame(self, pairs: list[Any]) -> None:
        calls = self.calls
        each = iter(pairs)
        for key, body in zip(each, each, strict=True):
            if type(key) is not int:
                raise frames.ProtocolError(f"a key is {type(key).__name__}, not a number")
            if key > 0:
                call = calls.get(key)
                if call is not None:
                    call.items.append(body)
                    waiter = call.waiter
                    if waiter is not None:
                        call.waiter = None
                        if not waiter.done():
                            waiter.set_result(None)
            else:
                self._operation(key, body)

    def _operation(self, op: int, body: Any) -> None:
        try:
            if op == frames.RESULT:
                stream, item = body
                call = self.calls.pop(stream, None)
                if call is not None:
                    call.ended = True
                    call.put(item)
            elif op == frames.END:
                call = self.calls.pop(body, None)
                if call is not None:
                    call.finish()
            elif op == frames.ERROR:
                stream, code, error_type, message = body
                call = self.calls.pop(stream, None)
                if call is not None:
                    call.finish(self._error(call, str(code), str(error_type), str(message)))
            elif op == frames.WEIGHT:
                stream, credits = body
                call = self.calls.get(stream)
                if call is not None:
                    call.weigh(int(credits))
            elif op == frames.GOAWAY:
                self.going_away = str(body) or "going away"
            else:
                self._common(op, body)
        except (TypeError, ValueError) as error:
            raise frames.ProtocolError(f"operation {op} has a body of the wrong shape: {error}") from error

    @staticmethod
    def _error(call: StreamCall, code: str, error_type: str, message: str) -> RequestError:
        return error_from_wire(code, error_type, message, endpoint=call.endpoint, instance=call.instance_id)

    def _lost(self, reason: str, /) -> None:
        calls, self.calls = self.calls, {}
        for call in calls.values():
            call.finish(InstanceLost(reason, endpoint=call.endpoint, instance=call.instance_id))
        self._on_lost(self)
