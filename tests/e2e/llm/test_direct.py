"""The smallest graph: the frontend plans by itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from dynamo.llm.tinymodel import make
from tests.e2e.llm.graph import EXAMPLE, running


@pytest.mark.xdist_group("e2e-llm")
async def test_a_frontend_without_a_processor(tmp_path: Path) -> None:
    options = ("--Worker.ServiceArgs.workers=1", f"--Worker.model={make(tmp_path / 'tiny')}")
    async with (
        running("graphs.direct:Frontend", "configs/agg.yaml", *options) as (graph, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30) as api,
    ):
        assert sorted(graph.processes) == ["frontend-1", "worker-1"]
        answer = await api.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hello"}], max_tokens=5
        )
        assert answer.choices[0].finish_reason == "length"
        with pytest.raises(openai.NotFoundError):
            await api.chat.completions.create(model="nope", messages=[{"role": "user", "content": "Hello"}])


@pytest.mark.xdist_group("e2e-llm")
async def test_a_frontend_that_asks_the_router_itself(tmp_path: Path) -> None:
    options = ("--Worker.ServiceArgs.workers=2", f"--Worker.model={make(tmp_path / 'tiny')}")
    ids = [20 + n % 700 for n in range(320)]
    async with (
        running("graphs.direct_router:Frontend", "configs/agg_router.yaml", *options) as (graph, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30) as api,
    ):
        assert sorted(graph.processes) == ["frontend-1", "router-1", "worker-1", "worker-2"]
        for _ in range(3):
            answer = await api.completions.create(model="tiny", prompt=ids, max_tokens=4)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        assert answer.usage.prompt_tokens_details.cached_tokens == 304, "all but the block of the last token"
        actual = 0.0
        async with asyncio.timeout(10):  # reports are gathered for a moment
            while actual < 2 * 304 // 16:
                router = await graph.metrics("router-1", "dynamo_kv_")
                actual = router["dynamo_kv_actual_blocks_total"]
                await asyncio.sleep(0.02)


def test_what_no_process_of_the_example_imports_before_it_needs_it() -> None:
    code = (
        "import sys, dynamo.sdk.replica, graphs.agg_router\n"
        "print([m for m in ('fastapi', 'pydantic', 'numpy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=EXAMPLE, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
