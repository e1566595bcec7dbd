from __future__ import annotations

from pathlib import Path

import pytest

from dynamo.llm.engines.factory import make_engine, read_options, words
from dynamo.llm.errors import ModelError
from dynamo.llm.tokenizer import Tokenizer


def options(model_path: Path, *argv: str) -> list[str]:
    return ["--model", str(model_path), *argv]


def test_own_options_are_taken_and_the_rest_is_the_engine_s(model_path: Path) -> None:
    argv = options(
        model_path, "--engine", "vllm", "--max-model-len", "100", "--served-model-name", "m", "--enforce-eager"
    )
    found = read_options(argv)
    assert (found.engine, found.name, found.rest) == ("vllm", "m", ["--max-model-len", "100", "--enforce-eager"])


def test_the_simulator_takes_its_fields_and_the_model_s_sizes(model_path: Path) -> None:
    argv = options(model_path, "--num-gpu-blocks", "64", "--no-enable-prefix-caching", "--timing", "{}")
    card = make_engine(read_options(argv)).card
    assert (card.name, card.engine, card.context_length, card.vocab_size) == ("tiny", "mocker", 512, 1024)
    assert card.eos_token_ids == [1, 3]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--engine", "tensor"), "invalid choice: 'tensor'"),
        (("--num-gpu-block", "5"), "no option --num-gpu-block; it has num-gpu-blocks"),
        (("--num-gpu-blocks", "many"), "num_gpu_blocks"),
        (("--num-gpu-blocks", "0"), "at least 1"),
        (("--engine", "echo", "--speedup-ratio", "2"), "the echo engine has no option"),
    ],
)
def test_a_wrong_option_is_one_clear_line(model_path: Path, argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make_engine(read_options(options(model_path, *argv)))


@pytest.mark.parametrize("text", ['{"fr": "/l/fr", "de": "/l/de"}', '["fr=/l/fr", "de=/l/de"]'])
def test_adapters_are_named_in_the_configuration(model_path: Path, text: str) -> None:
    found = read_options(options(model_path, "--lora-modules", text))
    assert found.loras == {"fr": Path("/l/fr"), "de": Path("/l/de")}
    assert make_engine(found).card.loras == ["fr", "de"]


@pytest.mark.parametrize("text", ['{"fr": 5}', "fr", "=/l/fr", "[1]"])
def test_an_adapter_needs_a_name_and_a_directory(model_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match="lora-modules: "):
        read_options(options(model_path, "--lora-modules", text))


def test_a_missing_model_directory_is_named() -> None:
    with pytest.raises(ModelError, match="/nowhere: no such model directory"):
        read_options(["--model", "/nowhere"])


def test_a_simulated_model_says_words(tokenizer: Tokenizer) -> None:
    said = words(tokenizer)
    assert len(said) >= 64
    assert all(tokenizer.decode([token_id]).strip().isalpha() for token_id in said)
    assert "�" not in tokenizer.decode(said)
