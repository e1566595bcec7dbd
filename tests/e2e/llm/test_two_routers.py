"""Two replicas of the router in one graph: prefixes are found whichever is asked, and either may be lost."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.llm.graph import RunningGraph, running

pytestmark = pytest.mark.xdist_group("e2e-llm")

PROMPT = "a prompt of some length that is asked again and again " * 20


async def ask(api: openai.AsyncOpenAI, text: str, **extra: Any) -> tuple[int, int]:
    """Prompt tokens, and those of them that were cached."""
    answer = await api.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": text}], max_tokens=2, extra_body=extra
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    return answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens or 0


async def routed_by(graph: RunningGraph, router: str) -> float:
    """How many decisions a replica has made (of the mode `kv`; the others are told apart by labels)."""
    return (await graph.metrics(router, "dynamo_kv_decisions_total")).get("dynamo_kv_decisions_total", 0)


async def test_two_routers(tmp_path: Path) -> None:
    options = ("--Router.ServiceArgs.workers=2", "--Worker.data-parallel-size=2", "--Worker.ServiceArgs.workers=2")
    async with (
        running(
            "graphs.agg_router:Frontend", "configs/agg_router.yaml", *options, DYN_LOCAL_STATE_DIR=str(tmp_path)
        ) as (graph, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as api,
    ):
        await ask(api, PROMPT)
        for _ in range(16):
            asked, cached = await ask(api, PROMPT)
            assert asked - cached <= 16, "whichever router was asked, of two workers with two ranks each"
        assert await routed_by(graph, "router-1") > 0
        assert await routed_by(graph, "router-2") > 0
        await keys_and_overrides(api)
        os.kill(graph.processes["router-1"].pid, signal.SIGKILL)
        found = await asyncio.gather(*(ask(api, PROMPT) for _ in range(16)))
        assert all(cached for _, cached in found)


async def keys_and_overrides(api: openai.AsyncOpenAI) -> None:
    assert (await ask(api, PROMPT, cache_salt="mine"))[1] == 0
    assert (await ask(api, PROMPT, cache_salt="mine"))[1] > 0
    assert (await ask(api, PROMPT, cache_salt="theirs"))[1] == 0
    assert (await ask(api, PROMPT, router={"temperature": 0, "overlap_weight": 2}))[1] > 0
    with pytest.raises(openai.BadRequestError, match="router option temperature: must be 0 or more"):
        await ask(api, PROMPT, router={"temperature": -1})
    with pytest.raises(openai.BadRequestError, match="router option colour: there is none of that name"):
        await ask(api, PROMPT, router={"colour": "red"})
