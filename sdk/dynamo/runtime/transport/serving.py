"""The serving end of a connection: runs handlers and sends what they yield, within the reader's credit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from dynamo.runtime.context import RequestContext, enter
from dynamo.runtime.errors import (
    Cancelled,
    DeadlineExceeded,
    FrameTooLarge,
    InvalidPayload,
    Overloaded,
    RequestError,
    error_to_wire,
)
from dynamo.runtime.transport import frames
from dynamo.runtime.transport.base import Handler
from dynamo.runtime.transport.codec import ENCODE_ERRORS, encoder
from dynamo.runtime.transport.connection import Connection, Limits

logger = logging.getLogger(__name__)

_RESULT = frames.KEYS[frames.RESULT]
_END = frames.KEYS[frames.END]
_ERROR = frames.KEYS[frames.ERROR]
_WEIGHT = frames.KEYS[frames.WEIGHT]
_GOAWAY = frames.KEYS[frames.GOAWAY]
_encode_key = frames.encode_key
_encode_into = encoder.encode_into
_UNWATCHED_ITEMS = 16


class ServedCall:
    """One running request: its task and how many items its reader still has room for."""

    __slots__ = ("credit", "deadline", "handler", "items", "live", "sent", "started", "task", "waiter")

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.credit = frames.CREDITS
        self.live = True  # somebody still waits for the answer
        self.started = False
        self.items = 0
        self.sent = 0  # bytes
        self.task: asyncio.Task[None] | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.deadline: asyncio.TimerHandle | None = None

    def grant(self, credits: int) -> None:
        self.credit += credits
        waiter = self.waiter
        if waiter is not None and self.credit > 0:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)


class ServingConnection(Connection):
    """A connection that another process dialled."""

    def __init__(
        self,
        limits: Limits,
        handlers: Mapping[str, Handler],
        on_made: Callable[[ServingConnection], None],
        on_lost: Callable[[ServingConnection], None],
        on_done: Callable[[], None],
    ) -> None:
        super().__init__(limits)
        self.calls: dict[int, ServedCall] = {}
        self.draining = False
        self._closers: list[Callable[[], None]] = []
        self._handlers = handlers
        self._on_made = on_made
        self._on_lost = on_lost
        self._on_done = on_done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._on_made(self)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call this when the connection is gone (leases are bound to connections this way)."""
        self._closers.append(callback)

    def drain(self) -> None:
        """Refuse new requests and say so."""
        self.draining = True
        if not self.closed:
            self.push(_GOAWAY, "draining")

    # -- what arrives

    def _frame(self, pairs: list[Any]) -> None:
        each = iter(pairs)
        for op, body in zip(each, each, strict=True):
            if type(op) is not int or op >= 0:
                raise frames.ProtocolError("a caller sent something that is not an operation")
            try:
                if op == frames.REQUEST:
                    stream, target, payload, headers = body
                    self._request(stream, target, payload, headers)
                elif op == frames.CREDIT:
                    stream, credits = body
                    call = self.calls.get(stream)
                    if call is not None:
                        call.grant(int(credits))
                elif op == frames.CANCEL:
                    self._end(body)
                else:
                    self._common(op, body)
            except (TypeError, ValueError) as error:
                raise frames.ProtocolError(f"operation {op} has a body of the wrong shape: {error}") from error

    def _request(self, stream: Any, target: Any, payload: Any, headers: Any) -> None:
        if type(stream) is not int or stream <= 0 or stream in self.calls or type(target) is not str:
            raise frames.ProtocolError("a request whose stream number or target is not allowed")
        if headers is not None and type(headers) is not dict:
            raise frames.ProtocolError("a request whose headers are not a map")
        if not self._greeted:
            raise frames.ProtocolError("a request before the greeting")
        handler = self._handlers.get(target)
        if handler is None:
            served = ", ".join(sorted(name for name in self._handlers if not name.startswith("_system/"))) or "nothing"
            self._refuse(stream, "unknown_endpoint", "UnknownEndpoint", f"this process serves {served}")
        elif self.draining and not target.startswith("_system/"):
            self._refuse(stream, "unavailable", "InstanceUnavailable", "the instance is draining")
        elif len(self.calls) >= self.limits.max_streams:
            self._refuse(stream, *error_to_wire(Overloaded(f"{len(self.calls)} streams are open on one connection")))
        elif handler.limit and handler.running >= handler.limit:
            self._refuse(stream, *error_to_wire(Overloaded(f"the instance runs {handler.running} requests already")))
        else:
            call = ServedCall(handler)
            context = RequestContext(handler.target, handler.instance_id, headers, self, stream)
            context.received, self.received = self.received, 0
            self.calls[stream] = call
            handler.running += 1
            call.task = self.loop.create_task(self._serve(stream, call, payload, context))
            if context.deadline is not None:
                call.deadline = self.loop.call_at(context.deadline, self._expire, stream)

    def _refuse(self, stream: int, code: str, error_type: str, message: str) -> None:
        self.push(_ERROR, (stream, code, error_type, message))

    def _expire(self, stream: int) -> None:
        call = self.calls.get(stream)
        if call is not None and call.live:
            self._refuse(stream, *error_to_wire(DeadlineExceeded("the deadline passed")))
            self._end(stream)

    def _end(self, stream: Any) -> None:
        """Nobody waits for this answer any more: cancel its handler."""
        call = self.calls.get(stream)
        if call is None or not call.live:
            return
        call.live = False
        if not call.started:  # a task that is cancelled before its first step never runs its clean-up
            del self.calls[stream]
            call.handler.running -= 1
            if self.draining:
                self._on_done()
        if call.deadline is not None:
            call.deadline.cancel()
        if call.task is not None:
            call.task.cancel()

    # -- running handlers

    async def _serve(self, stream: int, call: ServedCall, payload: Any, context: RequestContext) -> None:
        handler = call.handler
        enter(context)
        call.started = True
        token = handler.observer.begin(context)
        failure = ""
        try:
            result = handler.start(payload, context)
            if hasattr(result, "__aiter__"):
                await self._send_items(stream, call, result)
                self.push(_END, stream)
            else:
                item = await result
                call.items = 1
                call.sent = self._send_result(stream, item)
                if not self.writable:
                    await self.until_writable()
        except asyncio.CancelledError:
            failure = "Cancelled"
            if call.live:  # nobody asked: the handler gave up, or the process ends
                self._refuse(stream, *error_to_wire(Cancelled("the serving process cancelled the request")))
            raise
        except Exception as error:
            failure = self._fail(stream, call, handler, error)
        finally:
            call.live = False
            self.calls.pop(stream, None)
            handler.running -= 1
            handler.observer.end(token, call.items, call.sent, failure)
            if call.deadline is not None:
                call.deadline.cancel()
            if self.draining:
                self._on_done()

    async def _send_items(self, stream: int, call: ServedCall, items: Any) -> None:
        """The loop that every item of every stream goes through: `push` written out, the rest in `_pause`."""
        key = _encode_key(stream)
        count = sent = 0
        budget = (
            1  # items until `_pause` looks at credit and the like; the first item leaves before the handler goes on
        )
        try:
            async for item in items:
                out = self.out
                start = len(out)
                out += key
                try:
                    _encode_into(item, out, -1)
                except ENCODE_ERRORS as error:
                    del out[start:]
                    raise InvalidPayload(f"item {count} cannot be encoded: {error}") from error
                end = len(out)
                count += 1
                sent += end - start
                if end - start > frames.CREDIT_BYTES or end > frames.FLUSH_BYTES:
                    self._added_big(start, end - start)
                    budget = 0
                else:
                    budget -= 1
                    self.pairs += 1
                    if not self.scheduled:
                        self.scheduled = True
                        self.loop.call_soon(self.flush)
                if budget <= 0:
                    budget = await self._pause(stream, call, count, end - start)
        finally:
            call.items = count
            call.sent = sent
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    async def _pause(self, stream: int, call: ServedCall, count: int, size: int) -> int:
        """Settle the credit of the items since the last time and wait where that is needed.

        Returns how many items may follow before this is called again.
        """
        call.credit -= count - call.items
        call.items = count
        if size > frames.CREDIT_BYTES:
            extra = size // frames.CREDIT_BYTES
            call.credit -= extra
            self.push(_WEIGHT, (stream, extra))
        if count == 1:
            await asyncio.sleep(0)
        while call.credit <= 0 or not self.writable:
            if call.credit <= 0:
                call.waiter = self.loop.create_future()
                await call.waiter
            else:
                await self.until_writable()
        return min(call.credit, _UNWATCHED_ITEMS)

    def _send_result(self, stream: int, item: Any) -> int:
        """Bytes sent."""
        try:
            return self.push(_RESULT, (stream, item))
        except FrameTooLarge as error:
            self._refuse(stream, *error_to_wire(error))
        except ENCODE_ERRORS as error:
            self._refuse(stream, *error_to_wire(InvalidPayload(f"the answer cannot be encoded: {error}")))
        return 0

    def _fail(self, stream: int, call: ServedCall, handler: Handler, error: Exception) -> str:
        """Report a handler's exception to its caller; the error's type for the metrics."""
        code, error_type, message = error_to_wire(error)
        if not isinstance(error, RequestError):
            logger.warning("%s raised %s: %s", handler.target, error_type, message, exc_info=error)
        if call.live:
            self._refuse(stream, code, error_type, message)
        return error_type

    def _lost(self, _reason: str, /) -> None:
        for stream in list(self.calls):
            self._end(stream)
        closers, self._closers = self._closers, []
        for callback in closers:
            callback()
        self._on_lost(self)
