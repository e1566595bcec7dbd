from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamo.llm.errors import ModelError, RequestError
from dynamo.llm.tokenizer import Tokenizer

TEXTS = [
    "Hello, world!",
    "  leading and trailing  ",
    "Grüße: naïve façade žluťoučký kůň",
    "你好，世界。今日はいい天気ですね。",
    "👩‍👩‍👧‍👦🇨🇭 family and flag",
    "def f(x):\n\treturn x ** 2\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_encoding_and_incremental_decoding(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    detokenizer = tokenizer.detokenizer()
    pieces = [detokenizer.feed([token_id]) for token_id in ids]
    assert "".join(pieces) + detokenizer.finish() == text
    assert all("�" not in piece for piece in pieces)


@given(ids=st.lists(st.integers(0, 1023), max_size=60), size=st.integers(1, 7))
def test_incremental_decoding_equals_decoding_at_once(tokenizer: Tokenizer, ids: list[int], size: int) -> None:
    detokenizer = tokenizer.detokenizer()
    text = "".join(detokenizer.feed(ids[at : at + size]) for at in range(0, len(ids), size)) + detokenizer.finish()
    assert text == tokenizer.decode(ids)


def test_a_long_run_of_broken_bytes_is_let_out_in_bounded_time(tokenizer: Tokenizer) -> None:
    half = tokenizer.inner.token_to_id("Ã")  # the byte 0xC3, which needs a continuation
    detokenizer = tokenizer.detokenizer()
    text = "".join(detokenizer.feed([half]) for _ in range(1000))
    assert len(text) > 900
    assert set(text) == {"�"}


def test_special_tokens_are_shown_only_when_asked_for(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a<|im_end|>b")
    assert tokenizer.decode(ids) == "ab"
    shown = tokenizer.detokenizer(skip_special_tokens=False)
    assert shown.feed(ids) + shown.finish() == "a<|im_end|>b"


def test_end_of_sequence_ids_come_from_the_model(tokenizer: Tokenizer) -> None:
    assert tokenizer.eos_token_ids == [1, 3]
    assert tokenizer.special_tokens["eos_token"] == "<|im_end|>"


def test_half_a_surrogate_pair_is_a_bad_request(tokenizer: Tokenizer) -> None:
    with pytest.raises(RequestError, match="surrogate"):
        tokenizer.encode("\ud800")


def test_a_directory_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json: not found"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="does not load"):
        Tokenizer(tmp_path)


async def test_encoding_leaves_the_interpreter_to_others(tokenizer: Tokenizer) -> None:
    """Turns of the loop while a long text is encoded in a thread: a tokeniser that keeps the GIL allows a few dozen."""
    encoding = asyncio.create_task(asyncio.to_thread(tokenizer.encode, "word " * 300_000))
    turns = 0
    while not encoding.done():
        turns += 1
        await asyncio.sleep(0)
    assert len(await encoding) > 300_000
    assert turns > 5_000
