"""Overrides on a command line: `--Service.key=value`, `--Service.key value`, nested at any depth."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from dynamo.sdk.config import SERVICE_ARGS, Config, Source, checked_shape
from dynamo.sdk.errors import ConfigError
from dynamo.sdk.options import merge

COMMAND_LINE = "command line"

_PATH = re.compile(r"^--([A-Za-z_]\w*)((?:\.[^.=\s]+)+)$")
# What JSON refuses and people write: 007, +1, .5, 1.
_INT = re.compile(r"^[+-]?\d+$")
_FLOAT = re.compile(r"^[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$")


def is_override(argument: str) -> bool:
    """Whether an argument is (the start of) an override, rather than an option of the command."""
    return _PATH.match(argument.partition("=")[0]) is not None


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of the command itself, and those that make up overrides, each in their order."""
    own: list[str] = []
    overrides: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not is_override(argument):
            own.append(argument)
            continue
        overrides.append(argument)
        if "=" not in argument:
            if rest and rest[0] == "=":
                overrides.append(rest.pop(0))
            if rest and not rest[0].startswith("-"):
                overrides.append(rest.pop(0))
    return own, overrides


def parse_overrides(arguments: Sequence[str]) -> Source:
    """Read overrides; later ones win.

    A value may start with `-` in the `=` form only.

    Raises:
        ConfigError: an argument is not an override, has no value, or contradicts another one.
    """
    config: Config = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        flag, equals, text = argument.partition("=")
        match = _PATH.match(flag)
        if match is None:
            raise ConfigError(f"{argument!r} is not an override; write --Service.key=value", where=COMMAND_LINE)
        if not equals:
            if rest and rest[0] == "=":
                rest.pop(0)
            if not rest or rest[0].startswith("-"):
                raise ConfigError(
                    f"{argument!r} has no value; write {flag}=value (that form also takes values that start with '-')",
                    where=COMMAND_LINE,
                )
            text = rest.pop(0)
        service, path = match[1], match[2][1:].split(".")
        config = merge(config, {service: _nested(path, _value(path, text))})
    return Source(COMMAND_LINE, checked_shape(config, where=COMMAND_LINE))


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def _value(path: list[str], text: str) -> Any:
    """JSON first, then int, float, bool, str; below `ServiceArgs.envs` always the text itself."""
    if path[:2] == [SERVICE_ARGS, "envs"] and len(path) > 2:
        return text
    try:
        return json.loads(text, parse_constant=_not_a_number)
    except ValueError:
        pass
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def _not_a_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
