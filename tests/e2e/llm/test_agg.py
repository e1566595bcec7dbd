"""Frontend, processor and two simulated workers as real processes, asked by OpenAI's own client."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.llm.graph import RunningGraph, running

MESSAGES: Any = [{"role": "user", "content": "What is the airspeed velocity of an unladen swallow?"}]


@pytest.fixture
async def graph(tmp_path: Path) -> AsyncIterator[tuple[RunningGraph, str]]:
    options = ("--Worker.speedup-ratio=1",)
    async with running("graphs.agg:Frontend", "configs/agg.yaml", *options, DYN_LOCAL_STATE_DIR=str(tmp_path)) as made:
        yield made


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)


@pytest.mark.xdist_group("e2e-llm")
async def test_the_whole_graph(graph: tuple[RunningGraph, str]) -> None:
    running_graph, url = graph
    async with client(url) as api:
        assert [m.id async for m in api.models.list()] == ["tiny"]
        await answers_whole_and_streamed(api)
        await errors_are_openai_s(api, url)
        await many_at_once(api)
        await leaving_aborts(running_graph, api)
        await losing_a_worker(running_graph, api)


async def answers_whole_and_streamed(api: openai.AsyncOpenAI) -> None:
    whole = await api.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=20, seed=7)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 20
    text = whole.choices[0].message.content
    assert text
    stream = await api.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=20, seed=7, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    completion = await api.completions.create(model="tiny", prompt=["one", "two"], max_tokens=3)
    assert [choice.finish_reason for choice in completion.choices] == ["length", "length"]


async def errors_are_openai_s(api: openai.AsyncOpenAI, url: str) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await api.chat.completions.create(model="nope", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="maximum context length is 8192"):
        await api.completions.create(model="tiny", prompt=[5] * 9000)
    with pytest.raises(openai.BadRequestError, match="out of range"):
        await api.completions.create(model="tiny", prompt=[5, 999_999])
    with pytest.raises(openai.BadRequestError, match="does not serve embeddings"):
        await api.embeddings.create(model="tiny", input="x")
    async with httpx.AsyncClient() as http:
        bad = await http.post(f"{url}/v1/chat/completions", content=b"{", headers={"x-request-id": "mine"})
        assert (bad.status_code, bad.headers.get_list("x-request-id")) == (400, ["mine"])


async def many_at_once(api: openai.AsyncOpenAI) -> None:
    async def one() -> int:
        stream = await api.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=8, stream=True)
        return len([chunk async for chunk in stream])

    async with asyncio.timeout(60):
        assert min(await asyncio.gather(*(one() for _ in range(100)))) > 1


async def leaving_aborts(graph: RunningGraph, api: openai.AsyncOpenAI) -> None:
    """A client that goes away in mid-stream frees the engine: its 7,000 tokens would take a minute."""

    async def running() -> float:
        names = ("worker-1", "worker-2")
        return sum(
            [(await graph.metrics(name, "dynamo_engine_running"))["dynamo_engine_running_requests"] for name in names]
        )

    stream = await api.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=7000, stream=True)
    async with asyncio.timeout(30):
        while not await running():
            await asyncio.sleep(0.02)
        await stream.close()
        while await running():
            await asyncio.sleep(0.02)


async def losing_a_worker(graph: RunningGraph, api: openai.AsyncOpenAI) -> None:
    """Streams that had begun on it end with an error that says so; everything else does not notice."""
    begun = asyncio.Event()
    waiting = 0

    async def read() -> str:
        nonlocal waiting
        stream = await api.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=500, stream=True)
        waiting += 1
        if waiting == 8:
            begun.set()
        try:
            async for _ in stream:
                pass
        except openai.APIError as error:
            return error.message
        return "complete"

    streams = [asyncio.create_task(read()) for _ in range(8)]
    async with asyncio.timeout(60):
        await begun.wait()
        os.kill(graph.processes["worker-1"].pid, signal.SIGKILL)
        after = [
            (await api.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=4)).choices[0].finish_reason
            for _ in range(20)
        ]
        ends = await asyncio.gather(*streams)
    assert set(after) == {"length"}
    lost = [end for end in ends if end != "complete"]
    assert 1 <= len(lost) < 8
    assert all("went away in the middle of the answer" in end for end in lost)
