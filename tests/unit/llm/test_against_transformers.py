"""Ids and text, compared with `transformers` over a corpus: it is what model authors test with."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from dynamo.llm.chat_template import ChatTemplate
from dynamo.llm.openai.requests import ChatRequest, decode
from dynamo.llm.preprocessor import template_message
from dynamo.llm.tokenizer import Tokenizer

SAMPLES = [
    "",
    " ",
    "Hello, world!",
    "  two leading, two trailing  ",
    "tabs\tand\nnew\r\nlines\n\n\n",
    "Grüße aus Köln: naïve façade, señor, œuvre",
    "Привет, мир! Γειά σου Κόσμε. שלום עולם. مرحبا بالعالم.",
    "你好，世界。今日はいい天気ですね。안녕하세요 세계.",
    "emoji 🙂🚀 flags 🇨🇭 family 👩‍👩‍👧‍👦 combining e\u0301 zero\u200bwidth",
    "special <|im_end|> inside <|im_start|>text<|end_of_text|>",
    "a\x00b\x7f\ufffd",
    "1234567890 3.14159 -1e-9",
]


def corpus() -> list[str]:
    """Samples, and whatever prose is installed: every line of this environment's licences and read-mes."""
    readme = importlib.metadata.metadata("tokenizers").get_payload()
    return [*SAMPLES, *str(readme).splitlines(), str(readme)]


def metaspace(path: Path) -> Path:
    """A model of the SentencePiece kind: BPE with byte fallback and a begin token, as Llama 2 has."""
    path.mkdir()
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[*special, *(f"<0x{i:02X}>" for i in range(256))], show_progress=False
    )
    tokenizer.train_from_iterator(SAMPLES[2:6], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    file = path / "tokenizer.json"
    tokenizer.save(str(file))
    raw = json.loads(file.read_text())
    raw["added_tokens"] = [token for token in raw["added_tokens"] if token["content"] in special]
    file.write_text(json.dumps(raw))
    return path


@pytest.fixture(scope="module", params=["byte-level", "byte-fallback"])
def pair(
    request: pytest.FixtureRequest, model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tokenizer, Any]:
    path = model_path if request.param == "byte-level" else metaspace(tmp_path_factory.mktemp("spm") / "model")
    return Tokenizer(path), PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"))


@pytest.mark.parametrize("special", [True, False])
def test_ids_are_the_same(pair: tuple[Tokenizer, Any], special: bool) -> None:
    ours, theirs = pair
    for text in corpus():
        assert ours.encode(text, add_special_tokens=special) == theirs(text, add_special_tokens=special)["input_ids"]


@pytest.mark.parametrize("skip", [True, False])
def test_text_is_the_same_at_once_and_token_by_token(pair: tuple[Tokenizer, Any], skip: bool) -> None:
    ours, theirs = pair
    for text in corpus():
        ids = ours.encode(text, add_special_tokens=False)
        expected = theirs.decode(ids, skip_special_tokens=skip)
        assert ours.decode(ids, skip_special_tokens=skip) == expected
        detokenizer = ours.detokenizer(skip_special_tokens=skip)
        assert "".join(detokenizer.feed([i]) for i in ids) + detokenizer.finish() == expected


def test_an_answer_continues_its_prompt_as_the_whole_would_read(pair: tuple[Tokenizer, Any]) -> None:
    ours, theirs = pair
    ids = ours.encode("Hello, world! And good bye.", add_special_tokens=False)
    for cut in range(1, len(ids)):
        detokenizer = ours.detokenizer(ids[:cut])
        answer = detokenizer.feed(ids[cut:]) + detokenizer.finish()
        assert theirs.decode(ids[:cut]) + answer == theirs.decode(ids)


TEMPLATES = {
    "llama-3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
        "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}"
        "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "tools": (
        "{%- if tools %}\n    {%- for tool in tools %}\n{{ tool | tojson(indent=2) }}\n"
        "    {%- endfor %}\n{%- endif %}\n"
        "{%- for m in messages %}\n    {%- if m.role == 'system' %}{% continue %}{% endif %}\n"
        "    {%- generation %}{{ m | tojson }}{% endgeneration %}\n{%- endfor %}{{ eos_token }}"
    ),
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_templates_render_the_same(model_path: Path, template: str) -> None:
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(model_path / "tokenizer.json"), bos_token="<|begin_of_text|>", eos_token="<|im_end|>"
    )
    ours = ChatTemplate({"default": template}, {"bos_token": "<|begin_of_text|>", "eos_token": "<|im_end|>"})
    tool: dict[str, Any] = {"type": "function", "function": {"name": "f<&>", "parameters": {"ü": [1, None]}}}
    for text in SAMPLES:
        body = {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": text},
                {"role": "assistant", "content": text, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            ],
        }
        messages = [template_message(m) for m in decode(json.dumps(body), ChatRequest).messages]
        for generation_prompt in (True, False):
            expected = theirs.apply_chat_template(
                messages, chat_template=template, tools=[tool], add_generation_prompt=generation_prompt, tokenize=False
            )
            assert ours.render(messages, tools=[tool], add_generation_prompt=generation_prompt) == expected
