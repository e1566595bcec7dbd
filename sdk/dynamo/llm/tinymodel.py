"""A tiny model directory, made on the spot: for examples, tests and the demo, where nothing can be downloaded.

`python -m dynamo.llm.tinymodel DIRECTORY` writes a byte-level BPE tokenizer with a ChatML template and a
`config.json` of the Llama family. It has no weights: the simulated and echo engines need none, and tests of
a real engine add random ones. The vocabulary is trained on the Python standard library's own sources, so
it is the same wherever the same interpreter is.
"""

from __future__ import annotations

import argparse
import os
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from dynamo.llm.errors import ModelError
from dynamo.llm.tokenizer import read_json

VOCAB_SIZE = 4096
CONTEXT_LENGTH = 8192

BOS, EOS, START, END = "<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = """\
{%- if messages[0]['role'] != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- if tools %}
{{- '<|im_start|>system\\nTools:\\n' }}
{%- for tool in tools %}
{{- tool | tojson }}
{{- '\\n' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

_MODULES = ("argparse", "ast", "asyncio/base_events", "datetime", "doctest", "inspect", "logging/__init__", "typing")

_SAMPLES = (
    "Grüße aus Köln: naïve façade, señor, œuvre, Ærø, žluťoučký kůň.",
    "Привет, мир! Как дела? Γειά σου Κόσμε. שלום עולם. مرحبا بالعالم.",
    "你好，世界。今日はいい天気ですね。안녕하세요 세계.",
    "emoji: 🙂🚀🇨🇭👩‍👩‍👧‍👦 — “quotes” … ½ ≤ ∑ √",
)


def default_directory() -> Path:
    """Where examples keep theirs: below `DYN_LOCAL_STATE_DIR`, else the user's cache."""
    state = os.environ.get("DYN_LOCAL_STATE_DIR")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(state) if state else Path(cache) / "dynamod") / "tiny"


def make(directory: str | Path, *, vocab_size: int = VOCAB_SIZE, context_length: int = CONTEXT_LENGTH) -> Path:
    """Write the model directory; one that is complete and of the same sizes stays as it is.

    Several processes may do so at once: the directory appears whole.

    Raises:
        ModelError: the directory cannot be written, or holds another model.
    """
    path = Path(directory)
    wanted = _config(vocab_size, context_length)
    try:
        if path.is_dir():
            _same_or_raise(path, wanted)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
            fresh = Path(scratch) / path.name
            fresh.mkdir()
            train(vocab_size).save(str(fresh / "tokenizer.json"))
            _write(fresh / "tokenizer_config.json", _tokenizer_config(context_length))
            _write(fresh / "generation_config.json", {"bos_token_id": 0, "eos_token_id": [1, 3]})
            _write(fresh / "config.json", wanted)
            try:
                fresh.rename(path)
            except OSError:  # somebody else was faster
                _same_or_raise(path, wanted)
    except OSError as error:
        raise ModelError(f"{path}: cannot write a model there: {error.strerror}") from None
    return path


def _same_or_raise(path: Path, wanted: dict[str, Any]) -> None:
    if read_json(path / "config.json") != wanted:
        raise ModelError(f"{path}: holds another model; remove it, or choose another directory")


def train(vocab_size: int) -> tokenizers.Tokenizer:
    """A byte-level BPE tokenizer: every text encodes and decodes to itself."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer


def _corpus() -> Iterator[str]:
    library = Path(sysconfig.get_path("stdlib"))
    for name in _MODULES:
        file = library / f"{name}.py"
        if file.is_file():
            yield from file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    yield from _SAMPLES * 4


def _tokenizer_config(context_length: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "pad_token": EOS,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context_length,
        "chat_template": CHAT_TEMPLATE,
    }


def _config(vocab_size: int, context_length: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 128,  # heads of 32: the smallest that CPU kernels take
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context_length,
        "vocab_size": vocab_size,
        "bos_token_id": 0,
        "eos_token_id": [1, 3],
        "torch_dtype": "float32",
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a tiny model directory (tokenizer, template, config).")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--vocab-size", type=int, default=VOCAB_SIZE)
    parser.add_argument("--context-length", type=int, default=CONTEXT_LENGTH)
    options = parser.parse_args()
    make(options.directory, vocab_size=options.vocab_size, context_length=options.context_length)


if __name__ == "__main__":
    main()
