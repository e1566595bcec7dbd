from __future__ import annotations

import msgspec
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk

from dynamo.llm.openai.responses import ChatLogprobs, ContentLogprob, PromptDetails, Usage
from dynamo.llm.openai.sse import ChatChunks, TextChunks


def payload(event: bytes) -> bytes:
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    return event[6:-2]


def chat_chunks(*, usage_null: bool = False) -> ChatChunks:
    return ChatChunks(request_id='chatcmpl-"1"', created=5, model="m", choices=2, usage_null=usage_null)


def test_fragments_make_the_chunks_that_the_client_library_reads() -> None:
    chunks = chat_chunks()
    text = 'line\n"quoted" ü 🙂 \u2028'
    logprobs = ChatLogprobs(content=[ContentLogprob(token="a", logprob=-0.5, bytes=[97])])
    events = [
        chunks.role(1),
        chunks.text(1, text),
        chunks.last(0, "x", logprobs=logprobs),
        chunks.finish(1, "stop", "END"),
        chunks.tool_calls(0, [{"index": 0, "id": "c", "type": "function", "function": {"name": "f"}}]),
        chunks.usage(Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)),
    ]
    read = [ChatCompletionChunk.model_validate_json(payload(e)) for e in events]
    assert {(c.id, c.created, c.model) for c in read} == {('chatcmpl-"1"', 5, "m")}
    assert read[0].choices[0].delta.role == "assistant"
    assert (read[1].choices[0].index, read[1].choices[0].delta.content) == (1, text)
    assert read[2].choices[0].logprobs is not None
    assert read[3].choices[0].finish_reason == "stop"
    assert read[4].choices[0].delta.tool_calls is not None
    assert read[5].choices == []
    assert read[5].usage is not None


def test_usage_is_null_until_the_end_when_it_was_asked_for() -> None:
    chunks = chat_chunks(usage_null=True)
    assert msgspec.json.decode(payload(chunks.text(0, "a")))["usage"] is None
    details = PromptDetails(cached_tokens=16)
    usage = Usage(prompt_tokens=20, completion_tokens=1, total_tokens=21, prompt_tokens_details=details)
    assert msgspec.json.decode(payload(chunks.usage(usage)))["usage"]["prompt_tokens_details"] == {"cached_tokens": 16}


def test_completions_stream_text() -> None:
    chunks = TextChunks(request_id="cmpl-1", created=5, model="m", choices=1, usage_null=False)
    read = Completion.model_validate_json(payload(chunks.last(0, "ab", finish_reason="length")))
    assert (read.choices[0].text, read.choices[0].finish_reason) == ("ab", "length")
