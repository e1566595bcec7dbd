"""Planners: where a request is tokenised and its worker chosen, here or in Processor replicas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

import msgspec

from dynamo.llm.dispatch import Refusal, refusal_of, refused
from dynamo.llm.engines.base import EngineRequest
from dynamo.llm.errors import Busy, NoWorkers, RequestError
from dynamo.llm.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from dynamo.llm.pipeline import Planned
from dynamo.llm.preprocessor import Preprocessor
from dynamo.runtime.errors import RequestError as RuntimeRequestError

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

REPORT_INTERVAL = 0.005
"""Seconds that reports to a remote planner are gathered."""

TOKENISE_APART = 16_384
"""Characters from which a prompt is tokenised in a thread, so that streams do not stall behind it."""


class Picker(Protocol):
    """Chooses a worker, and follows each request so that its load counts."""

    async def pick(
        self, request: EngineRequest, *, without: frozenset[int], overrides: dict[str, Any] | None
    ) -> Planned:
        """The request with its worker.

        Raises:
            Busy, NoWorkers: nobody can take it.
            RequestError: the overrides are not ones that a router knows.
        """
        ...

    def first_token(self, request_id: str, cached_tokens: int | None) -> None: ...

    def progressed(self, request_id: str, generated_tokens: int) -> None: ...

    def done(self, request_id: str) -> None: ...


class AnyWorker:
    """Leaves the choice to the client: workers in turn, avoiding those that failed."""

    async def pick(
        self,
        request: EngineRequest,
        *,
        without: frozenset[int],  # noqa: ARG002
        overrides: dict[str, Any] | None,
    ) -> Planned:
        return Planned(request=request, overrides=overrides)

    def first_token(self, request_id: str, cached_tokens: int | None) -> None:
        """Nobody counts."""

    def progressed(self, request_id: str, generated_tokens: int) -> None:
        """Nobody counts."""

    def done(self, request_id: str) -> None:
        """Nobody counts."""


class LocalPlanner:
    """Tokenises in this process and asks a picker."""

    def __init__(self, preprocessor: Preprocessor, picker: Picker) -> None:
        self._preprocessor = preprocessor
        self._picker = picker
        self.first_token = picker.first_token
        self.progressed = picker.progressed
        self.done = picker.done

    async def plan(self, request: ChatRequest | CompletionRequest, request_id: str) -> list[Planned]:
        requests = await apart_if_long(characters(request), self._prepare, request, request_id)
        planned: list[Planned] = []
        try:
            for item in requests:  # not at once: after an error those before it must be known
                chosen = await self._picker.pick(item, without=frozenset(), overrides=request.router)
                planned.append(chosen)
        except BaseException:
            for counted in planned:  # as load, and will not be run
                self._picker.done(counted.request.request_id)
            raise
        return planned

    def _prepare(self, request: ChatRequest | CompletionRequest, request_id: str) -> list[EngineRequest]:
        if isinstance(request, ChatRequest):
            return self._preprocessor.chat(request, request_id)
        return self._preprocessor.completion(request, request_id)

    async def again(self, planned: Planned, without: frozenset[int]) -> Planned:
        return await self._picker.pick(planned.request, without=without, overrides=planned.overrides)


async def apart_if_long(size: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `work` returns; called in a thread where it has so many characters to tokenise that the loop would wait."""
    if size >= TOKENISE_APART:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)


def characters(request: ChatRequest | CompletionRequest | EmbeddingRequest) -> int:
    """Characters of text that there are to tokenise."""
    if isinstance(request, ChatRequest):
        contents = [message.content or "" for message in request.messages]
        return sum(
            len(content) if isinstance(content, str) else sum(len(part.text or "") for part in content)
            for content in contents
        )
    given = request.input if isinstance(request, EmbeddingRequest) else request.prompt
    return len(given) if isinstance(given, str) else sum(len(item) for item in given if isinstance(item, str))


class PlanCall(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a Processor is asked: plan one of the two kinds of request, or place one anew."""

    request_id: str = ""
    chat: ChatRequest | None = None
    completion: CompletionRequest | None = None
    again: Planned | None = None
    without: list[int] = []

    def model(self) -> str:
        """The model that is asked for; empty in a call that asks nothing."""
        if self.again is not None:
            return self.again.request.model
        request = self.chat or self.completion
        return request.model if request else ""


class PlanAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    planned: list[Planned] = []
    refusal: Refusal | None = None


class Report(msgspec.Struct, kw_only=True, omit_defaults=True):
    """News of one request for whoever routed it."""

    request_id: str
    event: Literal["first", "progress", "done"]
    cached_tokens: int | None = None
    generated_tokens: int = 0


class Reports(msgspec.Struct):
    """News in the order of events."""

    reports: list[Report]

    def tell(self, picker: Picker) -> int:
        """Pass them on; how many there were."""
        for report in self.reports:
            if report.event == "first":
                picker.first_token(report.request_id, report.cached_tokens)
            elif report.event == "progress":
                picker.progressed(report.request_id, report.generated_tokens)
            else:
                picker.done(report.request_id)
        return len(self.reports)


class ReportSender:
    """Gathers reports for a moment and sends them together: they are many, and nobody waits for them."""

    def __init__(self, send: Callable[[Reports], Awaitable[Any]]) -> None:
        self._send = send
        self._reports: list[Report] = []
        self._sending: asyncio.Task[None] | None = None

    def add(self, report: Report) -> None:
        self._reports.append(report)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send_all(), name="reports")

    async def _send_all(self) -> None:
        while self._reports:
            await asyncio.sleep(REPORT_INTERVAL)
            reports, self._reports = self._reports, []
            try:
                await self._send(Reports(reports))
            except RuntimeRequestError as error:
                logger.warning("%d reports were not delivered: %s", len(reports), error)

    async def close(self) -> None:
        """Send what is left."""
        if self._sending is not None:
            await asyncio.gather(self._sending, return_exceptions=True)


class RemotePlanner:
    """Asks Processor replicas. `call` sends a `PlanCall` and gives the answer; `report` sends reports."""

    def __init__(self, call: Callable[[PlanCall], Awaitable[Any]], report: Callable[[Reports], Awaitable[Any]]) -> None:
        self._call = call
        self._reports = ReportSender(report)

    async def plan(self, request: ChatRequest | CompletionRequest, request_id: str) -> list[Planned]:
        if isinstance(request, ChatRequest):
            return await self._ask(PlanCall(request_id=request_id, chat=request))
        return await self._ask(PlanCall(request_id=request_id, completion=request))

    async def again(self, planned: Planned, without: frozenset[int]) -> Planned:
        return (await self._ask(PlanCall(again=planned, without=sorted(without))))[0]

    async def _ask(self, call: PlanCall) -> list[Planned]:
        answer = msgspec.convert(await self._call(call), PlanAnswer)
        if answer.refusal is not None:
            raise refused(answer.refusal)
        return answer.planned

    def first_token(self, request_id: str, cached_tokens: int | None) -> None:
        self._reports.add(Report(request_id=request_id, event="first", cached_tokens=cached_tokens))

    def progressed(self, request_id: str, generated_tokens: int) -> None:
        self._reports.add(Report(request_id=request_id, event="progress", generated_tokens=generated_tokens))

    def done(self, request_id: str) -> None:
        self._reports.add(Report(request_id=request_id, event="done"))

    async def close(self) -> None:
        """Send what is left."""
        await self._reports.close()


async def answer_plan(planner: LocalPlanner, call: PlanCall) -> PlanAnswer:
    """The Processor's side of `RemotePlanner`: refusals are answers, other errors travel as errors."""
    try:
        if call.again is not None:
            return PlanAnswer(planned=[await planner.again(call.again, frozenset(call.without))])
        request = call.chat or call.completion
        if request is None:
            raise RequestError("There is nothing to plan.")
        return PlanAnswer(planned=await planner.plan(request, call.request_id))
    except (RequestError, Busy, NoWorkers) as error:
        return PlanAnswer(refusal=refusal_of(error))
