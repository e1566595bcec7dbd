"""The asynchronous transport, on httpx: what the dashboard lives on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar

import httpx

from dynamo_tui.client.contexts import Context
from dynamo_tui.client.errors import ClientError, ProtocolError, StreamLost, Unavailable, Unreachable
from dynamo_tui.client.exchange import Answer, Call, StreamCall, check, read_answer, request_headers
from dynamo_tui.client.resume import ConnectionState, OnConnection, Resumption
from dynamo_tui.client.sse import EventParser, EventTooLarge
from dynamo_tui.client.sync import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, SILENCE_TIMEOUT_S, unreachable

T = TypeVar("T")

MAX_CONNECTIONS = 64


class AsyncClient:
    """One daemon, spoken to from one event loop. Use it in an `async with`, or `await aclose()`.

    Raises (every method): Unreachable, VersionMismatch, ProtocolError, and ApiError's family.
    """

    def __init__(
        self, context: Context, *, timeout: float = ANSWER_TIMEOUT_S, connect_timeout: float = CONNECT_TIMEOUT_S
    ) -> None:
        self.context = context
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=30.0)
        transport = httpx.AsyncHTTPTransport(uds=context.socket, limits=limits)
        self._timeout = httpx.Timeout(timeout, connect=connect_timeout)
        self._stream_timeout = httpx.Timeout(SILENCE_TIMEOUT_S, connect=connect_timeout)
        # A proxy from the environment has no business between a person and their daemon.
        self._http = httpx.AsyncClient(
            transport=transport, base_url=context.url or "http://localhost", timeout=self._timeout, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Carry out one call."""
        return (await self.answer(call)).value

    async def answer(self, call: Call[T]) -> Answer[T]:
        """Carry out one call and keep what HTTP says: status and etag."""
        headers = request_headers(self.context.token, call.headers, body=bool(call.body))
        try:
            response = await self._http.request(
                call.method,
                call.target,
                content=call.body,
                headers=headers,
                timeout=self._timeout
                if call.timeout is None
                else httpx.Timeout(call.timeout, connect=self._timeout.connect),
            )
        except httpx.HTTPError as error:
            raise self._failure(error) from error
        return read_answer(call, response.status_code, response.headers, response.content)

    async def stream(self, call: StreamCall[T], *, last_event_id: str | None = None) -> AsyncGenerator[T, None]:
        """One connection's items. It ends with StreamLost, for a live stream never ends on its own; see `follow`.

        Wrap it in `contextlib.aclosing` when you leave it early: closing it closes the connection.
        """
        async with aclosing(self._batches(call, Resumption(last_event_id), None)) as batches:
            async for batch in batches:
                for item in batch:
                    yield item

    async def follow(
        self, call: StreamCall[T], *, last_event_id: str | None = None, on_connection: OnConnection | None = None
    ) -> AsyncGenerator[T, None]:
        """The stream, resumed where it was whenever it breaks, until it is closed.

        `on_connection` hears of every connection made and lost, and when the next attempt is due.

        Raises:
            Gone: the daemon no longer keeps what is needed to resume without a gap: take a snapshot and follow anew.
        """
        following = self.follow_batches(call, last_event_id=last_event_id, on_connection=on_connection)
        async with aclosing(following) as batches:
            async for batch in batches:
                for item in batch:
                    yield item

    async def follow_batches(
        self, call: StreamCall[T], *, last_event_id: str | None = None, on_connection: OnConnection | None = None
    ) -> AsyncGenerator[list[T], None]:
        """As `follow`, but what arrived at once comes at once: for streams of very many items. No batch is empty."""
        resumption = Resumption(last_event_id)
        while True:
            try:
                async with aclosing(self._batches(call, resumption, on_connection)) as batches:
                    async for batch in batches:
                        yield batch
            except (StreamLost, Unavailable, Unreachable) as error:
                delay = resumption.next_delay()
                if on_connection is not None:
                    on_connection(ConnectionState(connected=False, error=str(error), retry_in_s=delay))
                await asyncio.sleep(delay)

    async def _batches(
        self, call: StreamCall[T], resumption: Resumption, on_connection: OnConnection | None
    ) -> AsyncGenerator[list[T], None]:
        headers = request_headers(self.context.token, resumption.headers(), body=call.body is not None, stream=True)
        request = self._http.stream(
            call.method, call.target, headers=headers, content=call.body, timeout=self._stream_timeout
        )
        parser = EventParser()
        try:
            async with request as response:
                ok = response.is_success
                check(response.status_code, response.headers, b"" if ok else await response.aread())
                resumption.connected()
                if on_connection is not None:
                    on_connection(ConnectionState(connected=True))
                async for chunk in response.aiter_raw():
                    batch: list[T] = []
                    problem: ClientError | None = None
                    for event in parser.feed(chunk):
                        try:
                            item = call.decode(event)
                        except ClientError as error:
                            problem = error
                            break
                        if item is not None:
                            batch.append(item)
                        resumption.seen(event.id)
                    if batch:
                        yield batch
                    if problem is not None:
                        raise problem
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise self._failure(error) from error
        except httpx.ReadTimeout:
            raise StreamLost(f"the stream {call.path} was silent for {SILENCE_TIMEOUT_S:.0f} s") from None
        except httpx.HTTPError as error:
            raise StreamLost(f"the stream {call.path} broke: {error or type(error).__name__}") from error
        except EventTooLarge as error:
            raise ProtocolError(str(error)) from None
        raise StreamLost(f"the daemon ended the stream {call.path}")

    def _failure(self, error: httpx.HTTPError) -> ClientError:
        if isinstance(error, (httpx.ProtocolError, httpx.DecodingError)):
            return ProtocolError(f"{self.context.address} does not answer as a daemon does: {error}")
        cause = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error)
        return unreachable(self.context, cause or type(error).__name__)
