from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dynamo.sdk import liveness, readiness
from dynamo.sdk.hooks import Hook
from dynamo.sdk.serving.health import HealthCheck, HealthMonitor
from dynamo.sdk.spec import ProbeSpec


class Handlers:
    def __init__(self) -> None:
        self.answer: Any = True

    @readiness
    async def ready(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @liveness
    async def hangs(self) -> bool:
        await asyncio.sleep(60)
        return True


def readiness_of(handlers: object, **probe: Any) -> HealthCheck:
    return HealthCheck(handlers, Hook.READINESS, ProbeSpec(**probe))


async def test_truthy_is_healthy_and_everything_else_says_why() -> None:
    handlers = Handlers()
    check = readiness_of(handlers)
    assert (await check.ask()).healthy
    handlers.answer = 0
    assert (await check.ask()).message == "readiness ready: answered 0"
    handlers.answer = RuntimeError("no GPU")
    assert (await check.ask()).message == "readiness ready: RuntimeError: no GPU"
    late = HealthCheck(handlers, Hook.LIVENESS, ProbeSpec(timeout=0.01))
    assert (await late.ask()).message == "liveness hangs: no answer within 0.01 s"


async def test_a_service_without_handlers_is_healthy() -> None:
    check = readiness_of(object())
    assert check.verdict.healthy
    assert not check.has_handlers


async def test_thresholds_hold_back_single_answers() -> None:
    handlers = Handlers()
    check = readiness_of(handlers, failure_threshold=2, success_threshold=2)
    assert not check.verdict.healthy
    assert not (await check.update(), check.verdict.healthy)[1]
    assert await check.update()
    assert check.verdict.healthy
    handlers.answer = False
    assert not await check.update()
    assert check.verdict.healthy
    assert await check.update()
    assert not check.verdict.healthy


async def test_the_monitor_reports_each_change_once() -> None:
    handlers = Handlers()
    check = readiness_of(handlers, period=0.01, failure_threshold=1)
    changes: asyncio.Queue[str] = asyncio.Queue()

    async def changed() -> None:
        await changes.put(check.verdict.message)

    monitor = HealthMonitor(check, HealthCheck(object(), Hook.LIVENESS, ProbeSpec()), changed)
    task = asyncio.create_task(monitor.run())
    try:
        async with asyncio.timeout(5):
            assert await changes.get() == ""
            handlers.answer = False
            assert await changes.get() == "readiness ready: answered False"
            handlers.answer = True
            assert await changes.get() == ""
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
