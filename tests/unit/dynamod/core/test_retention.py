from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dynamod.core.retention import superfluous
from dynamod.schema.builds import Build, PruneRequest

NOW = 1_000_000.0


def build(tag: str, age: float, *, size: int = 10, used_by: list[str] | None = None) -> Build:
    name, _, version = tag.partition(":")
    at = datetime.fromtimestamp(NOW - age, UTC)
    more: dict[str, Any] = {"service": "m:S", "entry": "S", "python_version": "3.11", "used_by": used_by or []}
    return Build(
        tag=tag, name=name, version=version, digest=tag, sha256="", size=size, created_at=at, stored_at=at, **more
    )


BUILDS = [
    build("a:1", 500),
    build("a:2", 400, used_by=["default/a"]),
    build("a:3", 300, size=30),
    build("a:4", 200),
    build("b:1", 900),
]


@pytest.mark.parametrize(
    ("wanted", "gone"),
    [
        (PruneRequest(), ["a:1", "a:3"]),
        (PruneRequest(keep=0), ["b:1", "a:1", "a:3", "a:4"]),
        (PruneRequest(keep=2), ["a:1"]),
        (PruneRequest(keep=0, older_than=450), ["b:1", "a:1"]),
        (PruneRequest(keep=0, size=55), ["b:1", "a:1"]),
        (PruneRequest(keep=1, size=0), ["a:1", "a:3"]),
        (PruneRequest(keep=0, size=70), []),
    ],
)
def test_what_goes(wanted: PruneRequest, gone: list[str]) -> None:
    assert [one.tag for one in superfluous(BUILDS, wanted, NOW)] == gone
