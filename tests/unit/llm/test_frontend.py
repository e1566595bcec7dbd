from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import openai
import pytest

from dynamo.llm.engines.base import EngineOutput, TokenLogprob
from dynamo.llm.errors import Busy, GenerationFailed, NoWorkers
from dynamo.llm.pipeline import Planned
from dynamo.llm.preprocessor import Preprocessor
from dynamo.llm.tokenizer import Tokenizer
from dynamo.runtime.metrics import Registry
from tests.unit.llm.served import Models, ScriptedModel, serving, until

TEXT = "Grüße aus Köln, 世界 🙂 and goodbye"
MESSAGES: Any = [{"role": "user", "content": "Say it"}]


@pytest.fixture
def says(preprocessor: Preprocessor, tokenizer: Tokenizer) -> ScriptedModel:
    """Says TEXT, two ids a delta, until it is told to stop."""
    ids = tokenizer.encode(TEXT)

    async def script(planned: Planned) -> AsyncIterator[EngineOutput]:
        most = min(planned.request.stop.max_tokens or len(ids), len(ids))
        for at in range(0, most, 2):
            piece = ids[at : min(at + 2, most)]
            logprobs = None
            if planned.request.sampling.logprobs is not None:
                logprobs = [TokenLogprob(token_id=i, logprob=-0.5, top=[(i, -0.5)]) for i in piece]
            last = at + 2 >= most
            finish = ("length" if most < len(ids) else "stop") if last else None
            yield EngineOutput(
                token_ids=piece, logprobs=logprobs, finish_reason=finish, cached_tokens=16 if at == 0 else None
            )
            await asyncio.sleep(0)

    return ScriptedModel(preprocessor, script)


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


async def test_a_chat_answers_whole_and_streamed_alike(says: ScriptedModel) -> None:
    async with serving(Models(tiny=says)) as url, client(url) as api:
        whole = await api.chat.completions.create(model="tiny", messages=MESSAGES)
        assert whole.choices[0].message.content == TEXT
        assert whole.choices[0].finish_reason == "stop"
        assert whole.usage is not None
        assert whole.usage.completion_tokens == len(says.tokenizer.encode(TEXT))
        assert whole.usage.prompt_tokens_details is not None
        assert whole.usage.prompt_tokens_details.cached_tokens == 16
        stream = await api.chat.completions.create(
            model="tiny", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert all(c.usage is None for c in chunks[:-1])


async def test_latencies_count_tokens_not_deltas(says: ScriptedModel) -> None:
    registry = Registry()
    async with serving(Models(tiny=says), registry) as url, client(url) as api:
        answer = await api.chat.completions.create(model="tiny", messages=MESSAGES)
    counts = {s.name: s.value for s in registry.samples() if s.name.endswith("_count")}
    assert answer.usage is not None
    first_delta = 2
    assert counts["dynamo_llm_ttft_seconds_count"] == 1
    assert counts["dynamo_llm_itl_seconds_count"] == answer.usage.completion_tokens - first_delta


async def test_stop_strings_length_and_several_choices(says: ScriptedModel) -> None:
    async with serving(Models(tiny=says)) as url, client(url) as api:
        stopped = await api.chat.completions.create(model="tiny", messages=MESSAGES, stop=["Köln", "zzz"], n=2)
        assert [c.message.content for c in stopped.choices] == ["Grüße aus "] * 2
        assert {c.finish_reason for c in stopped.choices} == {"stop"}
        await until(lambda: says.running == 0)
        short = await api.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=3)
        assert (short.choices[0].finish_reason, short.usage and short.usage.completion_tokens) == ("length", 3)
        stream = await api.chat.completions.create(model="tiny", messages=MESSAGES, n=3, stream=True)
        texts = ["", "", ""]
        async for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        assert texts == [TEXT] * 3


async def test_logprobs(says: ScriptedModel) -> None:
    async with serving(Models(tiny=says)) as url, client(url) as api:
        chat = await api.chat.completions.create(model="tiny", messages=MESSAGES, logprobs=True, top_logprobs=1)
        assert chat.choices[0].logprobs is not None
        content = chat.choices[0].logprobs.content or []
        assert len(content) == len(says.tokenizer.encode(TEXT))
        assert content[0].top_logprobs[0].token == content[0].token
        stream = await api.completions.create(model="tiny", prompt="x", logprobs=1, max_tokens=4, stream=True)
        tokens = [
            t async for c in stream for t in (c.choices[0].logprobs.tokens if c.choices[0].logprobs else []) or []
        ]
        assert len(tokens) == 4


async def test_completions_take_several_prompts_and_echo(says: ScriptedModel) -> None:
    async with serving(Models(tiny=says)) as url, client(url) as api:
        answer = await api.completions.create(model="tiny", prompt=["one", "two"], max_tokens=2, echo=True, n=2)
        head = says.tokenizer.decode(says.tokenizer.encode(TEXT)[:2])
        assert [c.text for c in answer.choices] == ["one" + head] * 2 + ["two" + head] * 2
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == sum(len(says.tokenizer.encode(p)) for p in ("one", "two"))


async def test_embeddings_in_both_encodings(preprocessor: Preprocessor, says: ScriptedModel) -> None:
    able = Preprocessor(msgspec.structs.replace(preprocessor.card, kinds=["embeddings"]), preprocessor.tokenizer, None)
    async with serving(Models(vectors=ScriptedModel(able, says.script), tiny=says)) as url, client(url) as api:
        answer = await api.embeddings.create(model="vectors", input=["a", "a b c"])
        assert [len(d.embedding) for d in answer.data] == [2, 2]
        body = {"model": "vectors", "input": [1, 2, 3], "encoding_format": "base64"}
        raw = (await api.post("/embeddings", cast_to=httpx.Response, body=body)).json()
        assert struct.unpack("<2f", base64.b64decode(raw["data"][0]["embedding"])) == (3.0, 0.5)
        with pytest.raises(openai.BadRequestError):
            await api.embeddings.create(model="tiny", input="a")


async def test_tool_calls_are_taken_out_of_the_text(preprocessor: Preprocessor, tokenizer: Tokenizer) -> None:
    written = 'Let me see. <tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>'

    async def script(planned: Planned) -> AsyncIterator[EngineOutput]:
        for token_id in tokenizer.encode(written):
            yield EngineOutput(token_ids=[token_id])
        yield EngineOutput(token_ids=[3], finish_reason="stop")

    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    async with serving(Models(tiny=ScriptedModel(preprocessor, script))) as url, client(url) as api:
        whole = await api.chat.completions.create(model="tiny", messages=MESSAGES, tools=tools)
        assert whole.choices[0].finish_reason == "tool_calls"
        [call] = whole.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"city": "Köln"}
        stream = await api.chat.completions.create(model="tiny", messages=MESSAGES, tools=tools, stream=True)
        text, names, finish = "", [], None
        async for chunk in stream:
            choice = chunk.choices[0]
            text += choice.delta.content or ""
            names += [c.function.name for c in choice.delta.tool_calls or [] if c.function]
            finish = choice.finish_reason or finish
        assert (text, names, finish) == ("Let me see. ", ["weather"], "tool_calls")


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        (b"{", 400, None, None),
        (b'{"model": "tiny"}', 400, "messages", "missing_required_parameter"),
        (b'{"model": 5, "messages": [{"role": "user", "content": "x"}]}', 400, "model", "invalid_value"),
        (b'{"model": "nope", "messages": [{"role": "user", "content": "x"}]}', 404, "model", "model_not_found"),
        (
            json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "x " * 2000}]}).encode(),
            400,
            "messages",
            "context_length_exceeded",
        ),
    ],
)
async def test_errors_have_openai_s_shape(
    says: ScriptedModel, body: bytes, status: int, param: str | None, code: str | None
) -> None:
    async with serving(Models(tiny=says)) as url, httpx.AsyncClient() as http:
        answer = await http.post(f"{url}/v1/chat/completions", content=body, headers={"x-request-id": "abc"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (status, "abc")
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert (error["param"], error["code"]) == (param, code)
    assert error["message"]


async def test_other_paths_methods_and_sizes(says: ScriptedModel) -> None:
    async with serving(Models(tiny=says), max_body=1000) as url, httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/v1/chat/completions")).status_code == 405
        assert (await http.get("/v1/nothing")).status_code == 404
        assert (await http.post("/v1/completions", content=b"x" * 2000)).status_code == 413
        assert (await http.get("/health")).json() == {"status": "healthy", "models": ["tiny"]}
        models = (await http.get("/v1/models")).json()
        assert [(m["id"], m["max_model_len"]) for m in models["data"]] == [("tiny", 512)]
        assert (await http.get("/v1/models/tiny")).json()["object"] == "model"
        assert (await http.get("/v1/models/other")).json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Busy("full", retry_after=3), 429, openai.RateLimitError),
        (NoWorkers("none"), 503, openai.InternalServerError),
        (GenerationFailed("broken"), 500, openai.InternalServerError),
        (ZeroDivisionError("bug"), 500, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_failures_before_the_first_token_are_proper_statuses(
    preprocessor: Preprocessor, error: Exception, status: int, kind: type[openai.APIStatusError], stream: bool
) -> None:
    async def script(planned: Planned) -> AsyncIterator[EngineOutput]:
        raise error
        yield EngineOutput()

    async with serving(Models(tiny=ScriptedModel(preprocessor, script))) as url, client(url) as api:
        with pytest.raises(kind) as caught:
            await api.chat.completions.create(model="tiny", messages=MESSAGES, stream=stream)
    assert caught.value.status_code == status
    assert ("retry-after" in caught.value.response.headers) == (status in (429, 503))
    assert "bug" not in caught.value.message


@pytest.mark.parametrize("stream", [False, True])
async def test_choices_that_never_began_are_given_back(preprocessor: Preprocessor, stream: bool) -> None:
    """The first one fails at once, in the same turn of the loop: the others are cancelled before they start."""

    async def script(planned: Planned) -> AsyncIterator[EngineOutput]:
        raise Busy("full")
        yield EngineOutput()

    model = ScriptedModel(preprocessor, script)
    async with serving(Models(tiny=model)) as url, client(url) as api:
        with pytest.raises(openai.RateLimitError):
            await api.chat.completions.create(model="tiny", messages=MESSAGES, n=3, stream=stream)
    begun = [planned.request.request_id for planned in model.seen]
    assert len(begun) + len(model.abandoned) == 3
    assert not set(begun) & set(model.abandoned)


async def test_a_failure_in_mid_stream_is_an_error_event(preprocessor: Preprocessor, tokenizer: Tokenizer) -> None:
    async def script(planned: Planned) -> AsyncIterator[EngineOutput]:
        yield EngineOutput(token_ids=tokenizer.encode("Hello"))
        raise GenerationFailed("The worker went away in mid-stream.", begun=True)

    async with serving(Models(tiny=ScriptedModel(preprocessor, script))) as url, client(url) as api:
        stream = await api.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
        iterator = aiter(stream)
        assert (await anext(iterator)).choices[0].delta.role == "assistant"
        assert (await anext(iterator)).choices[0].delta.content == "Hello"
        with pytest.raises(openai.APIError, match="went away in mid-stream"):
            await anext(iterator)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_its_generation(
    preprocessor: Preprocessor, tokenizer: Tokenizer, stream: bool
) -> None:
    async def script(planned: Planned) -> AsyncIterator[EngineOutput]:
        yield EngineOutput(token_ids=tokenizer.encode("Hello"))
        await asyncio.sleep(60)

    model = ScriptedModel(preprocessor, script)
    body = {"model": "tiny", "messages": MESSAGES, "stream": stream}
    async with serving(Models(tiny=model)) as url:
        async with httpx.AsyncClient() as http:
            call = asyncio.create_task(http.post(f"{url}/v1/chat/completions", json=body))
            await until(lambda: model.running == 1)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await until(lambda: model.running == 0)


async def test_more_than_it_can_take_are_told_to_come_back(preprocessor: Preprocessor) -> None:
    async def script(planned: Planned) -> AsyncIterator[EngineOutput]:
        await release.wait()
        yield EngineOutput(token_ids=[5], finish_reason="stop")

    release = asyncio.Event()
    model = ScriptedModel(preprocessor, script)
    body = {"model": "tiny", "messages": MESSAGES}
    async with serving(Models(tiny=model), max_concurrent=2) as url, httpx.AsyncClient(base_url=url) as http:
        first = [asyncio.create_task(http.post("/v1/chat/completions", json=body)) for _ in range(2)]
        await until(lambda: model.running == 2)
        refused = await http.post("/v1/chat/completions", json=body)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["type"] == "rate_limit_error"
        release.set()
        assert [answer.status_code for answer in await asyncio.gather(*first)] == [200, 200]


async def test_a_thousand_clients_at_once(says: ScriptedModel) -> None:
    body = json.dumps({"model": "tiny", "messages": MESSAGES, "stream": True, "max_tokens": 4}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"

    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async with serving(Models(tiny=says)) as url:
        port = int(url.rpartition(":")[2])
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(ask(port) for _ in range(1000)))
    assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert all(b"data: [DONE]" in answer for answer in answers)
