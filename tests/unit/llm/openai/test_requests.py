from __future__ import annotations

import json
from typing import Any

import pytest

from dynamo.llm.errors import RequestError
from dynamo.llm.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest, decode

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def chat(**fields: Any) -> ChatRequest:
    return decode(json.dumps({**CHAT, **fields}), ChatRequest)


def test_unknown_fields_are_ignored() -> None:
    assert chat(something_new=1, stop="x").stops() == ["x"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"n": 0}, "n"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        chat(**fields)
    assert caught.value.param == param
    assert caught.value.status == 400


def test_a_missing_field_is_named() -> None:
    with pytest.raises(RequestError, match="Missing required parameter: 'messages'"):
        decode(b'{"model": "m"}', ChatRequest)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"\xff"', b'{"model": "\\ud800"}'])
def test_bad_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(RequestError):
        decode(body, ChatRequest)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
)
def test_prompts_come_in_four_shapes(prompt: Any, expected: Any) -> None:
    request = decode(json.dumps({"model": "m", "prompt": prompt}), CompletionRequest)
    assert request.prompts() == expected


@pytest.mark.parametrize("given", [[], [[]], ["a", 1], [[1], "a"], [-1]])
def test_a_prompt_of_no_shape_is_refused(given: Any) -> None:
    with pytest.raises(RequestError) as caught:
        decode(json.dumps({"model": "m", "prompt": given}), CompletionRequest).prompts()
    assert (caught.value.param or "").startswith("prompt")
    with pytest.raises(RequestError):
        decode(json.dumps({"model": "m", "input": given}), EmbeddingRequest)
