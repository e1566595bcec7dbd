from __future__ import annotations

import pytest

from dynamo.llm.engines.base import EngineOutput, EngineRequest, TokenLogprob
from dynamo.llm.errors import GenerationFailed
from dynamo.llm.generation import Choice, TextOptions, chat_logprobs, text_logprobs
from dynamo.llm.tokenizer import Tokenizer


def choice(tokenizer: Tokenizer, **options: object) -> Choice:
    request = EngineRequest(request_id="r", token_ids=tokenizer.encode("prompt"))
    return Choice(tokenizer, request, TextOptions(end_ids=frozenset({1, 3}), **options))  # type: ignore[arg-type]


def test_text_follows_the_ids_and_the_end_token_is_not_shown(tokenizer: Tokenizer) -> None:
    follow = choice(tokenizer, skip_special_tokens=False)
    ids = tokenizer.encode("Grüße an alle")
    text = "".join(follow.feed(EngineOutput(token_ids=[i], cached_tokens=8)).text for i in ids)
    last = follow.feed(EngineOutput(token_ids=[3], finish_reason="stop"))
    assert text + last.text == "Grüße an alle"
    assert last.finish_reason == "stop"
    assert (follow.completion_tokens, follow.cached_tokens) == (len(ids) + 1, 8)


def test_a_stop_string_ends_it_before_the_engine_does(tokenizer: Tokenizer) -> None:
    follow = choice(tokenizer, stops=("alle",))
    text = ""
    for token_id in tokenizer.encode("Grüße an alle Welt"):
        delta = follow.feed(EngineOutput(token_ids=[token_id]))
        text += delta.text
        if delta.finish_reason:
            break
    assert (text, delta.finish_reason, delta.stop_reason) == ("Grüße an ", "stop", "alle")


def test_half_a_character_at_the_end_is_shown_as_such(tokenizer: Tokenizer) -> None:
    follow = choice(tokenizer)
    half = tokenizer.inner.token_to_id("Ã")
    assert follow.feed(EngineOutput(token_ids=[half])).text == ""
    assert follow.feed(EngineOutput(finish_reason="length")).text == "�"


def test_an_engine_error_is_raised_with_its_text(tokenizer: Tokenizer) -> None:
    with pytest.raises(GenerationFailed, match="out of blocks"):
        choice(tokenizer).feed(EngineOutput(finish_reason="error", error="out of blocks"))


def test_logprobs_name_tokens(tokenizer: Tokenizer) -> None:
    [a, b] = tokenizer.encode("a")[0], tokenizer.encode("b")[0]
    entries = [TokenLogprob(token_id=a, logprob=-0.1, top=[(a, -0.1), (b, -2.0)]), TokenLogprob(token_id=b, logprob=-1)]
    chat = chat_logprobs(tokenizer, entries)
    assert [(c.token, len(c.top_logprobs)) for c in chat.content] == [("a", 2), ("b", 0)]
    text = text_logprobs(tokenizer, entries, offset=10)
    assert (text.tokens, text.text_offset, text.top_logprobs[0]) == (["a", "b"], [10, 11], {"a": -0.1, "b": -2.0})
