from __future__ import annotations

from pathlib import Path

import pytest

from dynamo.llm.chat_template import ChatTemplate
from dynamo.llm.engines.base import ModelCard
from dynamo.llm.preprocessor import Preprocessor
from dynamo.llm.tinymodel import make
from dynamo.llm.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model") / "tiny", vocab_size=1024, context_length=512)


@pytest.fixture(scope="session")
def tokenizer(model_path: Path) -> Tokenizer:
    return Tokenizer(model_path)


@pytest.fixture(scope="session")
def card(model_path: Path) -> ModelCard:
    return ModelCard(name="tiny", model_path=str(model_path), context_length=512, eos_token_ids=[1, 3], engine="test")


@pytest.fixture(scope="session")
def preprocessor(card: ModelCard, tokenizer: Tokenizer) -> Preprocessor:
    return Preprocessor(card, tokenizer, ChatTemplate.load(card.model_path, tokenizer.special_tokens))
