"""A thousand clients at once, with room for all of them and without."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.llm.graph import running

pytestmark = pytest.mark.xdist_group("e2e-llm")

CLIENTS = 1000
RETRYING = 100
TOKENS = 8
MESSAGES: Any = [{"role": "user", "content": "Is there room for one more?"}]


async def test_each_of_a_thousand_gets_its_answer(tmp_path: Path) -> None:
    config = ("graphs.agg_router:Frontend", "configs/agg_router.yaml")
    async with running(*config, DYN_LOCAL_STATE_DIR=str(tmp_path)) as (_, url):
        assert await ends_of_all(url) == {"length": CLIENTS}


async def test_those_for_whom_there_is_no_room_are_told_to_come_back(tmp_path: Path) -> None:
    """OpenAI's own client does so, and then everybody has an answer."""
    config = ("graphs.agg_router:Frontend", "configs/agg_router.yaml", "--Frontend.max_concurrent=20")
    async with running(*config, DYN_LOCAL_STATE_DIR=str(tmp_path)) as (_, url):
        ends = await ends_of_all(url)
        assert set(ends) == {"length", "429 rate_limit_error, again in 1 s"}
        assert ends["length"] >= 20
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=50, timeout=120) as api:
            answers = await asyncio.gather(
                *(
                    api.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=TOKENS)
                    for _ in range(RETRYING)
                )
            )
        assert {answer.choices[0].finish_reason for answer in answers} == {"length"}


async def ends_of_all(url: str) -> Counter[str]:
    """How each of `CLIENTS` streamed chats ended that were begun at once, each over a connection of its own."""
    async with asyncio.timeout(120):
        return Counter(await asyncio.gather(*(streamed(httpx.URL(url)) for _ in range(CLIENTS))))


async def streamed(url: httpx.URL) -> str:
    """The finish reason of one streamed chat, or how it was refused.

    Over a bare socket: a pool of httpx takes longer to look through its thousand connections than they all live.
    """
    body = json.dumps({"model": "tiny", "messages": MESSAGES, "max_tokens": TOKENS, "stream": True}).encode()
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    text = (await reader.read()).decode()
    writer.close()
    if not head.startswith("http/1.1 200"):
        retry_after = head.partition("retry-after: ")[2].partition("\r\n")[0]
        return f"{head[9:12]} {json.loads(text)['error']['type']}, again in {retry_after} s"
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    reasons = [choice["finish_reason"] for chunk in data for choice in json.loads(chunk)["choices"]]
    return "".join(filter(None, reasons))
