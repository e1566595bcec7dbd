from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from dynamo.llm.errors import ContextLengthExceeded, RequestError
from dynamo.llm.openai.requests import ChatRequest, CompletionRequest, decode
from dynamo.llm.preprocessor import Preprocessor


def chat(**fields: Any) -> ChatRequest:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], **fields}
    return decode(json.dumps(body), ChatRequest)


def completion(**fields: Any) -> CompletionRequest:
    return decode(json.dumps({"model": "tiny", "prompt": "hi", **fields}), CompletionRequest)


def test_a_chat_fills_the_context_unless_told_otherwise(preprocessor: Preprocessor) -> None:
    [request] = preprocessor.chat(chat(), "r")
    assert request.request_id == "r"
    assert request.stop.max_tokens == 512 - len(request.token_ids)
    assert preprocessor.tokenizer.decode(request.token_ids, skip_special_tokens=False).endswith("assistant\n")
    [request] = preprocessor.chat(chat(max_completion_tokens=7, temperature=0.5, stop_token_ids=[9]), "r")
    assert (request.stop.max_tokens, request.sampling.temperature, request.stop.stop_token_ids) == (7, 0.5, [9])


def test_choices_have_their_own_ids_and_seeds(preprocessor: Preprocessor) -> None:
    requests = preprocessor.chat(chat(n=3, seed=5), "r")
    assert [(r.request_id, r.sampling.seed) for r in requests] == [("r-0", 5), ("r-1", 6), ("r-2", 7)]


def test_completions_default_to_sixteen_tokens_and_take_ids(preprocessor: Preprocessor) -> None:
    [request] = preprocessor.completion(completion(prompt=[5, 6, 7]), "r")
    assert (request.token_ids, request.stop.max_tokens) == ([5, 6, 7], 16)
    assert len(preprocessor.completion(completion(prompt=["a", "b"], n=2), "r")) == 4


@pytest.mark.parametrize(
    ("request_", "param"),
    [(completion(prompt=[5] * 512), "prompt"), (completion(prompt=[5] * 500, max_tokens=13), "prompt")],
)
def test_what_does_not_fit_the_context_is_refused(
    preprocessor: Preprocessor, request_: CompletionRequest, param: str
) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        preprocessor.completion(request_, "r")
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", param)


def test_ids_outside_the_vocabulary_never_reach_an_engine(preprocessor: Preprocessor) -> None:
    with pytest.raises(RequestError, match="1024 is out of range"):
        preprocessor.completion(completion(prompt=[3, 1024]), "r")
    with pytest.raises(RequestError, match="out of range"):
        preprocessor.chat(chat(logit_bias={"5000": 1}), "r")


def test_guided_output_needs_an_engine_that_has_it(preprocessor: Preprocessor) -> None:
    wanted = chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}})
    with pytest.raises(RequestError, match="no guided decoding"):
        preprocessor.chat(wanted, "r")
    able = msgspec.structs.replace(preprocessor.card, extra={"guided": True})
    [request] = Preprocessor(able, preprocessor.tokenizer, preprocessor._template).chat(wanted, "r")
    assert request.sampling.guided == {"json": {"type": "object"}}


def test_message_parts_become_text_and_tool_arguments_objects(preprocessor: Preprocessor) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    [request] = preprocessor.chat(chat(messages=[{"role": "user", "content": parts}]), "r")
    assert "one\ntwo" in preprocessor.tokenizer.decode(request.token_ids)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}
    with pytest.raises(RequestError, match="tool call 'f'"):
        preprocessor.chat(chat(messages=[{"role": "assistant", "tool_calls": [call]}]), "r")
