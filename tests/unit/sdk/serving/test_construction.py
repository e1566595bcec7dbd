from __future__ import annotations

import pytest

from dynamo.sdk import service
from dynamo.sdk.errors import ConfigError
from dynamo.sdk.serving.construction import constructor_arguments


@service
class Worker:
    def __init__(self, model: str, block_size: int = 16, *, flag: bool = False, **rest: object) -> None: ...


@service
class Bare: ...


def test_keys_that_the_constructor_names_reach_it() -> None:
    keys = {"model": "m", "block-size": 32, "unknown": 1, "flag": True}
    assert constructor_arguments(Worker, keys) == {"model": "m", "block_size": 32, "flag": True}
    assert constructor_arguments(Bare, keys) == {}


def test_an_argument_without_a_default_must_be_configured() -> None:
    with pytest.raises(ConfigError, match=r"^Worker\.model must be specified in configuration$"):
        constructor_arguments(Worker, {})
