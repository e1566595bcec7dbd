"""A thousand streams at once through the router: what is refused where there is no room, `test_faults` has."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.llm.graph import running

pytestmark = pytest.mark.xdist_group("e2e-llm")

CLIENTS = 1000
TOKENS = 8
MESSAGES: Any = [{"role": "user", "content": "Is there room for one more?"}]


async def test_each_of_a_thousand_gets_its_answer(tmp_path: Path) -> None:
    config = ("graphs.agg_router:Frontend", "configs/agg_router.yaml")
    async with running(*config, DYN_LOCAL_STATE_DIR=str(tmp_path)) as (_, url):
        assert await ends_of_all(url) == {"length": CLIENTS}


async def ends_of_all(url: str) -> Counter[str]:
    """How each of `CLIENTS` streamed chats ended that were begun at once, each over a connection of its own."""
    async with asyncio.timeout(120):
        return Counter(await asyncio.gather(*(streamed(httpx.URL(url)) for _ in range(CLIENTS))))


async def streamed(url: httpx.URL) -> str:
    """The finish reason of one streamed chat, or the status of its refusal.

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
        return head.partition("\r\n")[0]
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    reasons = [choice["finish_reason"] for chunk in data for choice in json.loads(chunk)["choices"]]
    return "".join(filter(None, reasons))
