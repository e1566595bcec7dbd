"""Constructing a service's class: which configuration keys reach `__init__`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from dynamo.sdk.errors import ConfigError
from dynamo.sdk.services import Service


def constructor_arguments(service: Service[Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that the constructor names; `block-size` fills `block_size`.

    Raises:
        ConfigError: an argument without a default is not configured.
    """
    if service.inner.__init__ is object.__init__:
        return {}
    by_argument = {key.replace("-", "_"): value for key, value in keys.items()}
    given: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(service.inner.__init__).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            continue
        if name in by_argument:
            given[name] = by_argument[name]
        elif parameter.default is parameter.empty:
            raise ConfigError(f"{service.name}.{name} must be specified in configuration")
    return given
