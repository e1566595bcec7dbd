from __future__ import annotations

import pytest

from dynamo.sdk import (
    async_on_shutdown,
    async_on_start,
    liveness,
    on_deployment,
    on_shutdown,
    on_startup,
    readiness,
)
from dynamo.sdk.errors import DefinitionError
from dynamo.sdk.hooks import Hook, hook_names, run_deployment_hooks, run_hooks


class Base:
    def __init__(self) -> None:
        self.calls: list[str] = []

    @async_on_start
    async def base_first(self) -> None:
        self.calls.append("base_first")

    @async_on_start
    def replaced(self) -> None:
        self.calls.append("base replaced")

    @on_shutdown
    def base_down(self) -> None:
        self.calls.append("base_down")


class Derived(Base):
    @async_on_start
    def zebra(self) -> None:
        self.calls.append("zebra")

    def replaced(self) -> None:
        self.calls.append("derived replaced")

    @async_on_start
    async def apple(self) -> None:
        self.calls.append("apple")

    @on_startup
    async def early(self) -> None:
        self.calls.append("early")

    @async_on_shutdown
    async def down(self) -> None:
        self.calls.append("down")

    @liveness
    def alive(self) -> bool:
        return True

    @readiness
    async def ready(self) -> bool:
        return True


async def test_order_is_class_body_order_base_classes_first() -> None:
    instance = Derived()
    for hook in (Hook.STARTUP, Hook.START, Hook.SHUTDOWN):
        await run_hooks(instance, hook)
    assert instance.calls == ["early", "base_first", "derived replaced", "zebra", "apple", "base_down", "down"]


def test_health_handlers_by_decorator_and_by_name() -> None:
    class ByName:
        def __is_alive__(self) -> bool:
            return True

        async def __is_ready__(self) -> bool:
            return False

    assert hook_names(Derived, Hook.LIVENESS) == ["alive"]
    assert hook_names(Derived, Hook.READINESS) == ["ready"]
    assert hook_names(ByName, Hook.LIVENESS) == ["__is_alive__"]
    assert hook_names(ByName, Hook.READINESS) == ["__is_ready__"]


async def test_deployment_hooks_need_no_instance() -> None:
    calls: list[str] = []

    class Deployed:
        @on_deployment
        @staticmethod
        def static() -> None:
            calls.append("static")

        @on_deployment
        def plain() -> None:  # type: ignore[misc]
            calls.append("plain")

        @on_deployment
        @classmethod
        async def of_class(cls) -> None:
            calls.append(cls.__name__)

        @on_deployment
        def with_class(cls) -> None:
            calls.append(cls.__name__)  # type: ignore[attr-defined]

    await run_deployment_hooks(Deployed)
    assert calls == ["static", "plain", "Deployed", "Deployed"]


async def test_a_deployment_hook_that_wants_an_instance() -> None:
    class Wrong:
        @on_deployment
        def prepare(self, more: int) -> None: ...

    with pytest.raises(
        DefinitionError, match=r"Wrong\.prepare: an @on_deployment hook runs before there is an instance"
    ):
        await run_deployment_hooks(Wrong)


def test_hooks_decorate_functions_only() -> None:
    with pytest.raises(DefinitionError, match="@liveness decorates methods, not 3"):
        liveness(3)  # type: ignore[type-var]
