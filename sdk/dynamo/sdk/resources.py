"""Resources as authors write them (numbers, `"500m"`, `"20Gi"`) to the numbers of a `ResourceSpec`.

Suffixes follow Kubernetes' quantities: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dynamo.sdk.errors import ConfigError
from dynamo.sdk.spec import ResourceSpec

_QUANTITY = re.compile(r"^\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\s*$")
_SCALE = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
}
_BYTE_SUFFIX = {"KB": "K", "MB": "M", "GB": "G", "TB": "T", "B": ""}


def parse_quantity(value: object, *, key: str = "") -> float:
    """A number, or a string with one of Kubernetes' suffixes.

    Raises:
        ConfigError: neither of those, negative, or not a unit that exists.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ConfigError(f"must be a number or a string such as '500m' or '20Gi', not {value!r}", key=key)
    if not isinstance(value, str):
        number = float(value)
    else:
        match = _QUANTITY.match(value)
        suffix = _BYTE_SUFFIX.get(match[2], match[2]) if match else ""
        if match is None or suffix not in _SCALE:
            raise ConfigError(f"must be a number or a string such as '500m' or '20Gi', not {value!r}", key=key)
        number = float(match[1]) * _SCALE[suffix]
    if not 0 <= number < float("inf"):
        raise ConfigError(f"must be 0 or more, not {value!r}", key=key)
    return number


@dataclass(frozen=True)
class DeclaredResources:
    """What was declared, as text, the way code that reads `service.config.resources` expects it; `spec` in numbers."""

    cpu: str | None = None
    memory: str | None = None
    gpu: str = "0"
    custom: dict[str, str] = field(default_factory=dict)
    spec: ResourceSpec = field(default_factory=ResourceSpec)


def declare_resources(raw: Mapping[str, Any], *, key: str = "resources") -> DeclaredResources:
    """Both forms of what a replica asks for.

    Raises:
        ConfigError: as `parse_resources`.
    """
    spec = parse_resources(raw, key=key)
    cpu, memory, gpu = (None if raw.get(name) is None else _text(raw[name]) for name in ("cpu", "memory", "gpu"))
    return DeclaredResources(cpu=cpu, memory=memory, gpu=gpu or "0", custom=spec.custom, spec=spec)


def parse_resources(raw: Mapping[str, Any], *, key: str = "resources") -> ResourceSpec:
    """What a replica asks for. Names other than cpu, memory and gpu are kept as custom resources.

    Raises:
        ConfigError: a value is not a quantity; its key is part of the message.
    """
    custom: dict[str, str] = {}
    for name, value in raw.items():
        if name in ("cpu", "memory", "gpu"):
            continue
        if name == "custom" and isinstance(value, Mapping):
            custom.update({str(k): _text(v) for k, v in value.items()})
        else:
            custom[str(name)] = _text(value)
    gpu = parse_quantity(raw.get("gpu") or 0, key=f"{key}.gpu")
    if gpu > 1 and gpu != int(gpu):
        raise ConfigError(f"must be a whole number or a fraction below 1, not {gpu:g}", key=f"{key}.gpu")
    cpu, memory = raw.get("cpu"), raw.get("memory")
    return ResourceSpec(
        cpu=None if cpu is None else parse_quantity(cpu, key=f"{key}.cpu"),
        memory=None if memory is None else round(parse_quantity(memory, key=f"{key}.memory")),
        gpu=gpu,
        custom=custom,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
