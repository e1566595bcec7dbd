"""What a router can be told: for all requests (`RouterOptions`) and for one (`RouteOverrides`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import msgspec

from dynamo.llm.errors import LlmError

Mode = Literal["kv", "approx-kv", "kv-load", "round-robin", "random", "least-loaded"]
CostName = Literal["blocks", "usage"]
DEFAULT_TTL = 120.0
"""Seconds; as long as NVIDIA Dynamo's approximate index keeps an entry."""

MODES: tuple[Mode, ...] = get_args(Mode)
COSTS: tuple[CostName, ...] = get_args(CostName)


class InvalidOption(LlmError, ValueError):
    """A router option out of range; names the option."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"router option {option}: {message}")
        self.option = option


class RouterOptions(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How a router decides. Block counts are KV-cache blocks.

    - `cost`: "blocks" is today's formula of NVIDIA Dynamo, "usage" that of its SDK era (see `kv.costs`).
    - `overlap_weight`: credit for a cached block against one to be computed (1: a block for a block).
    - `prefill_load_scale`: how much a block to be computed weighs against a block that is merely held. NVIDIA Dynamo
      has 1 here, which sends a request away from its prefix as soon as the worker holds one request more than
      another. Computing a block takes an engine about ten times as long as reading it in all decode steps of
      an answer; from 4 on the hit rate no longer rises (`benchmarks/kv/shared_prefixes.py`).
    - `temperature`: 0 takes the cheapest worker, more spreads requests by a softmax over normalised costs.
    - `busy_usage`, `busy_waiting`: a worker whose cache usage (0..1) or number of waiting requests reaches
      this is not eligible; when none is, the request is refused.
    - `approx_ttl`: seconds that approx-kv takes a prompt to be cached by a worker of unknown capacity.
    - `request_ttl`: seconds after which a request whose end nobody reported (its caller died) counts no more.
    """

    block_size: int = 16
    mode: Mode = "kv"
    cost: CostName = "blocks"
    overlap_weight: float = 1.0
    prefill_load_scale: float = 4.0
    temperature: float = 0.0
    busy_usage: float | None = None
    busy_waiting: int | None = None
    approx_ttl: float = DEFAULT_TTL
    request_ttl: float = 600.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.block_size < 1:
            raise InvalidOption("block_size", f"must be at least 1, got {self.block_size}")
        for name in ("approx_ttl", "request_ttl"):
            if not getattr(self, name) > 0:
                raise InvalidOption(name, f"must be positive, got {getattr(self, name)}")
        if self.busy_usage is not None and not 0 < self.busy_usage <= 1:
            raise InvalidOption("busy_usage", f"must be in 0..1, got {self.busy_usage}")
        if self.busy_waiting is not None and self.busy_waiting < 1:
            raise InvalidOption("busy_waiting", f"must be at least 1, got {self.busy_waiting}")
        _check(self.mode, self.cost, self.overlap_weight, self.prefill_load_scale, self.temperature)


class RouteOverrides(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """For one request; None keeps the router's own value. `worker` pins the request to an instance id."""

    mode: Mode | None = None
    cost: CostName | None = None
    overlap_weight: float | None = None
    prefill_load_scale: float | None = None
    temperature: float | None = None
    worker: int | None = None

    def __post_init__(self) -> None:
        _check(self.mode, self.cost, self.overlap_weight, self.prefill_load_scale, self.temperature)


Options = TypeVar("Options", RouterOptions, RouteOverrides)


def read_options(values: Mapping[str, Any], kind: type[Options]) -> Options:
    """Options from a request's or a configuration's plain values.

    Raises:
        InvalidOption: a value out of range, of the wrong type, or an option that there is not.
    """
    known = kind.__struct_fields__
    for name, given in values.items():
        if name not in known:
            raise InvalidOption(name, f"there is none of that name, but {', '.join(known)}")
        if given is not None and name in _CHOICES:
            _one_of(name, given, _CHOICES[name])
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InvalidOption):
            raise error.__cause__ from None
        reason, _, name = str(error).partition(" - at `$.")
        raise InvalidOption(name.removesuffix("`"), reason) from None


_CHOICES: dict[str, Sequence[str]] = {"mode": MODES, "cost": COSTS}


def _one_of(name: str, given: Any, choices: Sequence[str]) -> None:
    if given not in choices:
        raise InvalidOption(name, f"{given!r} is not one of {', '.join(choices)}")


def _check(
    mode: str | None, cost: str | None, overlap_weight: float | None, scale: float | None, temperature: float | None
) -> None:
    for name, choice in (("mode", mode), ("cost", cost)):
        if choice is not None:
            _one_of(name, choice, _CHOICES[name])
    for name, value in (
        ("overlap_weight", overlap_weight),
        ("prefill_load_scale", scale),
        ("temperature", temperature),
    ):
        if value is not None and not 0 <= value < float("inf"):
            raise InvalidOption(name, f"must be 0 or more, got {value}")
