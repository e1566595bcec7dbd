"""Asking the KV router of a graph, which `kv.service` hosts: the call, its answer, and a `Picker` that makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from dynamo.llm.engines.base import EngineRequest
from dynamo.llm.errors import Busy, NoWorkers, RequestError
from dynamo.llm.kv.packing import pack_tokens
from dynamo.llm.pipeline import Planned
from dynamo.llm.planning import Report, Reports, ReportSender

if TYPE_CHECKING:
    from dynamo.runtime.client import Client

RETRY_AFTER = 1.0

SHARES = 16
"""Groups of requests that are spread over router replicas."""


class RouteCall(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One prompt to be routed. `tokens` are its ids as little-endian unsigned 32-bit integers."""

    request_id: str
    tokens: bytes
    lora: str | None = None
    salt: str | None = None
    without: list[int] = []
    overrides: dict[str, Any] | None = None


class RouteAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The worker, or why there is none: `invalid` overrides, everybody `busy`, or nobody there."""

    instance_id: int = 0
    dp_rank: int = 0
    overlap_blocks: int = 0
    invalid: str = ""
    busy: bool = False


class RouterPicker:
    """A `Picker` that asks a router: `route` and `report` are clients of those endpoints of a `RouterService`.

    With several router replicas, a request and the reports of it go to the same one, which counts it.
    """

    def __init__(self, route: Client, report: Client) -> None:
        self._route = route
        self._report = report
        self._senders: dict[str, ReportSender] = {}

    async def pick(
        self, request: EngineRequest, *, without: frozenset[int], overrides: dict[str, Any] | None
    ) -> Planned:
        call = RouteCall(
            request_id=request.request_id,
            tokens=pack_tokens(request.token_ids),
            lora=request.lora,
            salt=request.salt,
            without=sorted(without),
            overrides=overrides,
        )
        stream = await self._route.sticky(call, self._key(request.request_id))
        answer = msgspec.convert(await stream.one(), RouteAnswer)
        if answer.invalid:
            raise RequestError(f"router: {answer.invalid}", param="router", code="invalid_value")
        if answer.busy:
            raise Busy("All workers are busy; please try again shortly.", retry_after=RETRY_AFTER)
        if not answer.instance_id:
            raise NoWorkers("No worker can take this request now; one may be starting.")
        chosen = msgspec.structs.replace(request, overlap_blocks=answer.overlap_blocks, dp_rank=answer.dp_rank)
        return Planned(request=chosen, instance_id=answer.instance_id, overrides=overrides)

    def first_token(self, request_id: str, cached_tokens: int | None) -> None:
        self._add(Report(request_id=request_id, event="first", cached_tokens=cached_tokens))

    def progressed(self, request_id: str, generated_tokens: int) -> None:
        self._add(Report(request_id=request_id, event="progress", generated_tokens=generated_tokens))

    def done(self, request_id: str) -> None:
        self._add(Report(request_id=request_id, event="done"))

    async def close(self) -> None:
        """Send what is left."""
        for sender in self._senders.values():
            await sender.close()

    def _key(self, request_id: str) -> str:
        """Requests of one key share a router, and their reports a message."""
        return str(crc32(request_id.encode()) % SHARES)

    def _add(self, report: Report) -> None:
        key = self._key(report.request_id) if len(self._report.instance_ids()) > 1 else ""
        sender = self._senders.get(key)
        if sender is None:

            async def send(reports: Reports) -> None:
                await (await self._report.sticky(reports, key)).one()

            sender = self._senders[key] = ReportSender(send)
        sender.add(report)
