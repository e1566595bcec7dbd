"""What clients get when there is too much of them, when they misbehave, and when the only worker is gone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from dynamo.llm.tinymodel import make
from tests.e2e.llm.graph import RunningGraph, running

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
SMALL = (
    "--Worker.ServiceArgs.workers=1",
    "--Worker.max-num-seqs=2",
    "--Worker.max-waiting=4",
    "--Worker.speedup-ratio=1",
)


@pytest.mark.xdist_group("e2e-llm")
async def test_too_many_too_odd_and_nobody_there(tmp_path: Path) -> None:
    options = (*SMALL, f"--Worker.model={make(tmp_path / 'tiny')}")
    async with (
        running("graphs.direct:Frontend", "configs/agg.yaml", *options) as (graph, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as api,
    ):
        await more_than_the_worker_takes(api)
        await a_thousand_clients(url)
        await clients_that_misbehave(api, url)
        await the_only_worker_dies_and_returns(graph, api, url)


async def more_than_the_worker_takes(api: openai.AsyncOpenAI) -> None:
    """Some are refused at once and told when to come back; a client that does so is served in the end."""

    async def ask(patient: openai.AsyncOpenAI) -> str:
        try:
            answer = await patient.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=60)
        except openai.RateLimitError as error:
            return f"{error.type}, retry after {error.response.headers['retry-after']} s"
        return str(answer.choices[0].finish_reason)

    outcomes = Counter(await asyncio.gather(*(ask(api) for _ in range(20))))
    assert set(outcomes) == {"length", "rate_limit_error, retry after 1 s"}
    assert outcomes["length"] >= 2
    patient = api.with_options(max_retries=20)
    assert set(await asyncio.gather(*(ask(patient) for _ in range(12)))) == {"length"}


async def a_thousand_clients(url: str) -> None:
    """Each gets an answer or a 429 of its own; nobody is left hanging or cut off."""
    body = b'{"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(request % (len(body), body))
        answer = await reader.read()
        writer.close()
        return answer.partition(b"\r\n")[0]

    async with asyncio.timeout(120):
        statuses = Counter(await asyncio.gather(*(ask() for _ in range(1000))))
    assert set(statuses) <= {b"HTTP/1.1 200 OK", b"HTTP/1.1 429 Too Many Requests"}
    assert statuses[b"HTTP/1.1 200 OK"]


async def clients_that_misbehave(api: openai.AsyncOpenAI, url: str) -> None:
    """Half a body, no HTTP at all, a stream that nobody reads: none of them is anybody else's trouble."""
    port = int(url.rpartition(":")[2])
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n"
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    for (_, writer), sent in zip(silent, (head + b'{"model"', head[:20], b""), strict=True):
        writer.write(sent)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 400")
    writer.close()
    answer = await api.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=2)
    assert answer.choices[0].finish_reason == "length"
    for _, left in silent:
        left.close()


async def the_only_worker_dies_and_returns(graph: RunningGraph, api: openai.AsyncOpenAI, url: str) -> None:
    """Meanwhile it is 503 with a time to come back, never "no such model"."""
    process = graph.processes["worker-1"]
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    async with httpx.AsyncClient() as http, asyncio.timeout(30):
        while (await http.get(f"{url}/health")).status_code != 503:
            await asyncio.sleep(0.05)
    with pytest.raises(openai.InternalServerError, match="one may be starting") as caught:
        await api.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=2)
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (503, "2")
    waiting = asyncio.create_task(
        api.with_options(max_retries=20).chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=2)
    )
    await graph.start("Worker", 1)
    async with asyncio.timeout(60):
        assert (await waiting).choices[0].finish_reason == "length"
