"""Planning across a process boundary, without the process: calls are encoded and decoded as the wire does."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import msgspec
import pytest

from dynamo.llm.engines.base import EngineRequest
from dynamo.llm.errors import Busy, ContextLengthExceeded, NoWorkers, RequestError
from dynamo.llm.openai.requests import ChatRequest, CompletionRequest, decode
from dynamo.llm.pipeline import Planned
from dynamo.llm.planning import LocalPlanner, PlanCall, RemotePlanner, Reports, answer_plan
from dynamo.llm.preprocessor import Preprocessor

DEADLINE = 20.0
"""Seconds until a loop that stands still is given up."""


class Third:
    """Picks instance 3, or 4 when 3 is to be avoided."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int | None]] = []

    async def pick(
        self, request: EngineRequest, *, without: frozenset[int], overrides: dict[str, Any] | None
    ) -> Planned:
        return Planned(request=request, instance_id=4 if 3 in without else 3, overrides=overrides)

    def first_token(self, request_id: str, cached_tokens: int | None) -> None:
        self.told.append(("first", request_id, cached_tokens))

    def progressed(self, request_id: str, generated_tokens: int) -> None:
        self.told.append(("progress", request_id, generated_tokens))

    def done(self, request_id: str) -> None:
        self.told.append(("done", request_id, None))


def wired(value: Any, kind: Any) -> Any:
    return msgspec.convert(msgspec.msgpack.decode(msgspec.msgpack.encode(value)), kind)


@pytest.fixture
def picker() -> Third:
    return Third()


@pytest.fixture
def remote(preprocessor: Preprocessor, picker: Third) -> RemotePlanner:
    local = LocalPlanner(preprocessor, picker)

    async def call(call: PlanCall) -> Any:
        return msgspec.to_builtins(await answer_plan(local, wired(call, PlanCall)))

    async def report(reports: Reports) -> int:
        return wired(reports, Reports).tell(picker)

    return RemotePlanner(call, report)


def chat(**fields: Any) -> ChatRequest:
    return decode(json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], **fields}), ChatRequest)


async def test_a_plan_is_the_same_here_and_there(
    remote: RemotePlanner, preprocessor: Preprocessor, picker: Third
) -> None:
    request = chat(n=2, seed=3, stop_token_ids=[7], router={"mode": "random"})
    here = await LocalPlanner(preprocessor, picker).plan(request, "r")
    there = await remote.plan(request, "r")
    assert there == here
    assert [(p.instance_id, p.overrides) for p in there] == [(3, {"mode": "random"})] * 2
    again = await remote.again(there[0], frozenset({3}))
    assert (again.instance_id, again.request) == (4, there[0].request)


async def test_a_refusal_keeps_its_field_and_code(remote: RemotePlanner) -> None:
    request = decode(json.dumps({"model": "tiny", "prompt": [5] * 600}), CompletionRequest)
    with pytest.raises(RequestError) as caught:
        await remote.plan(request, "r")
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    assert not isinstance(caught.value, ContextLengthExceeded)


@pytest.mark.parametrize("error", [Busy("all are full", retry_after=3.0), NoWorkers("nobody is there")])
async def test_when_nobody_can_take_it_the_caller_hears_so(
    remote: RemotePlanner, picker: Third, monkeypatch: pytest.MonkeyPatch, error: Busy | NoWorkers
) -> None:
    async def pick(*_: Any, **__: Any) -> Planned:
        raise error

    monkeypatch.setattr(picker, "pick", pick)
    request = decode(json.dumps({"model": "tiny", "prompt": "hello"}), CompletionRequest)
    with pytest.raises(type(error), match=str(error)) as caught:
        await remote.plan(request, "r")
    assert caught.value.retry_after == error.retry_after


async def test_choices_of_a_request_that_cannot_be_planned_in_full_are_given_back(
    preprocessor: Preprocessor, picker: Third, monkeypatch: pytest.MonkeyPatch
) -> None:
    pick = picker.pick

    async def two_at_most(request: EngineRequest, **options: Any) -> Planned:
        if request.request_id == "r-2":
            raise Busy("all are full")
        return await pick(request, **options)

    monkeypatch.setattr(picker, "pick", two_at_most)
    with pytest.raises(Busy):
        await LocalPlanner(preprocessor, picker).plan(chat(n=4), "r")
    assert picker.told == [("done", "r-0", None), ("done", "r-1", None)]


async def test_reports_arrive_together_and_in_order(remote: RemotePlanner, picker: Third) -> None:
    remote.first_token("a", 16)
    remote.progressed("a", 128)
    remote.done("a")
    await remote.close()
    assert picker.told == [("first", "a", 16), ("progress", "a", 128), ("done", "a", None)]


async def test_a_long_prompt_does_not_stop_the_loop(preprocessor: Preprocessor, picker: Third) -> None:
    """It is tokenised in a thread: it ends only once another task of the loop has had its turn."""
    turn = threading.Event()
    prepare = preprocessor.completion

    def waiting(request: CompletionRequest, request_id: str) -> list[EngineRequest]:
        assert turn.wait(DEADLINE), "the loop stood still behind the tokeniser"
        return prepare(request, request_id)

    preprocessor.completion = waiting  # type: ignore[method-assign]
    request = decode(json.dumps({"model": "tiny", "prompt": "word " * 20_000}), CompletionRequest)
    asyncio.get_running_loop().call_soon(turn.set)
    with pytest.raises(ContextLengthExceeded):
        await LocalPlanner(preprocessor, picker).plan(request, "r")
