"""A graph that can be submitted without starting anything: no service has a replica."""

from __future__ import annotations

from typing import Any

import msgspec

from dynamo.sdk.spec import GraphSpec, ServiceSpec


def spec(name: str = "hello", *, workers: int = 0, envs: dict[str, str] | None = None) -> dict[str, Any]:
    service = ServiceSpec(name="Worker", target="hello:Worker", workers=workers, envs=envs or {})
    graph = GraphSpec(name=name, target="hello:Worker", entry="Worker", services=(service,))
    built: dict[str, Any] = msgspec.to_builtins(graph)
    return built


def submission(name: str = "hello", **given: Any) -> dict[str, Any]:
    return {"spec": spec(name, **given)}
