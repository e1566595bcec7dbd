from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dynamo.llm.engines.base import ModelCard
from dynamo.llm.errors import RequestError
from dynamo.llm.guided import guidance
from dynamo.llm.openai.requests import ChatRequest

CARD = ModelCard(name="m", engine="vllm", extra={"guided": True})
NUMBER = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
F = {"type": "function", "function": {"name": "f", "parameters": NUMBER}}
G = {"type": "function", "function": {"name": "g"}}


def chat(**fields: Any) -> ChatRequest:
    return msgspec.convert({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}, ChatRequest)


def test_nothing_asked_nothing_held_to() -> None:
    assert guidance(chat(), CARD) is None
    assert guidance(chat(tools=[F], tool_choice="auto", response_format={"type": "text"}), CARD) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"response_format": {"type": "json_object"}}, {"json_object": True}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": NUMBER}}},
            {"json": NUMBER},
        ),
        ({"guided_regex": "a+"}, {"regex": "a+"}),
        ({"guided_choice": ["a", "b"]}, {"choice": ["a", "b"]}),
        ({"tools": [F, G], "tool_choice": {"type": "function", "function": {"name": "f"}}}, {"json": NUMBER}),
        ({"tools": [F], "tool_choice": "required"}, {"json": NUMBER}),
    ],
)
def test_each_way_to_ask(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert guidance(chat(**fields), CARD) == expected


def test_one_of_several_tools_is_required() -> None:
    held = guidance(chat(tools=[F, G], tool_choice="required", parallel_tool_calls=False), CARD)
    assert held is not None
    schema = held["json"]
    assert (schema["type"], schema["minItems"], schema["maxItems"]) == ("array", 1, 1)
    named = {call["properties"]["name"]["const"]: call["properties"]["arguments"] for call in schema["items"]["anyOf"]}
    assert named == {"f": NUMBER, "g": {"type": "object"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"guided_grammar": "root ::= x"}, "guided_grammar"),
        ({"tools": [F, G], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [F], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    ],
)
def test_an_engine_without_it_refuses(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError, match=r"'m' \(mocker\) has no guided decoding") as caught:
        guidance(chat(**fields), ModelCard(name="m", engine="mocker"))
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(RequestError, match="not response_format, tool_choice"):
        guidance(chat(tools=[F], tool_choice="required", response_format={"type": "json_object"}), CARD)
    with pytest.raises(RequestError, match="there is no tool 'h'"):
        guidance(chat(tools=[F], tool_choice={"type": "function", "function": {"name": "h"}}), CARD)
    with pytest.raises(RequestError, match="needs a schema"):
        guidance(chat(response_format={"type": "json_schema", "json_schema": {"name": "n"}}), CARD)
