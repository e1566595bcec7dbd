"""Engines from a worker's configuration, as `ServiceConfig.as_args` renders it.

A few arguments are the worker's own; all others are the engine's: vLLM's command-line arguments for vLLM, the
fields of `MockerOptions` for the simulator (which bear vLLM's names where vLLM has them).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from dynamo.llm.engines.base import Engine, ModelCard
from dynamo.llm.errors import ModelError
from dynamo.llm.tinymodel import default_directory, make
from dynamo.llm.tokenizer import Tokenizer, read_json

ENGINES = ("mocker", "vllm", "echo")


class WorkerOptions(msgspec.Struct, kw_only=True):
    """`model` is a directory; `loras` are adapters' directories by name; `rest` are the engine's arguments."""

    engine: str
    model: Path
    name: str
    max_waiting: int | None
    rest: list[str]
    loras: dict[str, Path] = {}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ModelError(f"worker configuration: {message}")


def read_options(argv: Sequence[str]) -> WorkerOptions:
    """The worker's own options, and what is left for the engine. Without a model, a tiny one is made.

    Raises:
        ModelError: an option of the worker's own is wrong, or the model's directory is not there.
    """
    parser = _Parser(prog="worker", add_help=False, allow_abbrev=False)
    parser.add_argument("--engine", choices=ENGINES, default="mocker")
    parser.add_argument("--model", default="")
    parser.add_argument("--served-model-name", default="")
    parser.add_argument("--max-waiting", type=int)
    parser.add_argument("--lora-modules", default="")
    own, rest = parser.parse_known_args(list(argv))
    path = Path(own.model) if own.model else make(default_directory())
    if not path.is_dir():
        raise ModelError(f"{path}: no such model directory; set Worker.model to one, or leave it out for a tiny one")
    return WorkerOptions(
        engine=own.engine,
        model=path,
        name=own.served_model_name or path.resolve().name,
        max_waiting=own.max_waiting,
        rest=rest,
        loras=read_loras(own.lora_modules),
    )


def read_loras(text: str) -> dict[str, Path]:
    """Adapters by name: a mapping or a list of `name=path` as `as_args` renders them, or one `name=path`.

    Raises:
        ModelError: neither of these.
    """
    if not text:
        return {}
    try:
        given = msgspec.json.decode(text, type=dict[str, str] | list[str]) if text[0] in "{[" else [text]
    except msgspec.DecodeError as error:
        raise ModelError(f"lora-modules: {error}; write a mapping of names to directories") from None
    pairs = list(given.items()) if isinstance(given, dict) else [item.partition("=")[::2] for item in given]
    if not all(name and path for name, path in pairs):
        raise ModelError(f"lora-modules: {text}: each adapter needs a name and a directory")
    return {name: Path(path) for name, path in pairs}


def make_engine(options: WorkerOptions, *, run_dir: Path | None = None) -> Engine:
    """The engine, not started.

    Raises:
        ModelError: an argument that the engine does not have, or a value that it cannot take.
    """
    if options.engine == "vllm":
        from dynamo.llm.engines.vllm import VllmEngine

        argv = ["--model", str(options.model), *options.rest]
        return VllmEngine(argv, name=options.name, run_dir=run_dir, loras=options.loras)
    tokenizer = Tokenizer(options.model)
    card = ModelCard(
        name=options.name,
        model_path=str(options.model.resolve()),
        eos_token_ids=tokenizer.eos_token_ids,
        loras=list(options.loras),
    )
    if options.engine == "echo":
        return _echo(card, options)
    return _mocker(card, options, tokenizer)


def _echo(card: ModelCard, options: WorkerOptions) -> Engine:
    from dynamo.llm.engines.echo import Echo

    class EchoOptions(msgspec.Struct, forbid_unknown_fields=True):
        delay: float = 0.0
        max_model_len: int = 8192
        block_size: int = 16

    chosen = _structured("echo", options.rest, EchoOptions)
    card.context_length, card.block_size = chosen.max_model_len, chosen.block_size
    return Echo(card, delay=chosen.delay)


def _mocker(card: ModelCard, options: WorkerOptions, tokenizer: Tokenizer) -> Engine:
    from dynamo.llm.engines.mocker import Mocker
    from dynamo.llm.engines.mocker_core import MockerOptions

    config = read_json(options.model / "config.json")
    defaults: dict[str, Any] = {"vocab_size": tokenizer.vocab_size}
    if isinstance(config.get("max_position_embeddings"), int):
        defaults["max_model_len"] = config["max_position_embeddings"]
    try:
        chosen = _structured("mocker", options.rest, MockerOptions, defaults)
    except ValueError as error:
        raise ModelError(str(error)) from None
    return Mocker(card, chosen, vocabulary=words(tokenizer))


Options = TypeVar("Options", bound=msgspec.Struct)


def _structured(
    engine: str, argv: Sequence[str], kind: type[Options], defaults: dict[str, Any] | None = None
) -> Options:
    """`--some-name value …` as a struct with those fields."""
    given = dict(defaults or {})
    words_left = list(argv)
    while words_left:
        flag = words_left.pop(0)
        negative = flag.startswith("--no-")
        name = flag.removeprefix("--no-" if negative else "--").replace("-", "_")
        if not flag.startswith("--") or name not in kind.__struct_fields__:
            known = ", ".join(field.replace("_", "-") for field in kind.__struct_fields__)
            raise ModelError(f"the {engine} engine has no option {flag}; it has {known}")
        if negative or not words_left or words_left[0].startswith("--"):
            given[name] = not negative
        else:
            text = words_left.pop(0)
            given[name] = msgspec.json.decode(text) if text[:1] in "{[" else text
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ModelError(f"the {engine} engine's options: {error}") from None


ENOUGH_WORDS = 64


def words(tokenizer: Tokenizer) -> list[int]:
    """Ids that a simulated model may say: whole words where the vocabulary has enough of them, else whole characters.

    Word salad is what a simulator has to say; code fragments would look like a fault.
    """
    special = {token_id for token_id, token in tokenizer.inner.get_added_tokens_decoder().items() if token.special}
    printable, whole = [], []
    for token_id in range(tokenizer.vocab_size):
        text = "" if token_id in special else tokenizer.token_text(token_id)
        if text and "�" not in text and text.isprintable():
            printable.append(token_id)
            if len(text) > 3 and text[0] == " " and text[1:].isalpha() and text.islower():
                whole.append(token_id)
    return whole if len(whole) >= ENOUGH_WORDS else printable or list(range(tokenizer.vocab_size))


def run_directory() -> Path | None:
    """Where this replica's sockets go."""
    given = os.environ.get("DYN_RUN_DIR")
    return Path(given) if given else None
