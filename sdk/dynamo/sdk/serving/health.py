"""Health of a replica: its liveness and readiness handlers, asked regularly and on demand."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from dynamo.sdk.hooks import Hook, hook_names
from dynamo.sdk.spec import ProbeSpec


@dataclass(frozen=True)
class Verdict:
    """`message` says what is wrong; empty when nothing is."""

    healthy: bool
    message: str = ""


HEALTHY = Verdict(True)


class HealthCheck:
    """The handlers of one kind on one instance. Without any, it is always healthy.

    Before the first answers a replica is taken to be alive, and not to be ready.
    """

    def __init__(self, instance: object, hook: Hook, probe: ProbeSpec) -> None:
        self.probe = probe
        self.kind = hook.value
        self._handlers: list[tuple[str, Callable[[], Any]]] = [
            (name, getattr(instance, name)) for name in hook_names(type(instance), hook)
        ]
        assumed = hook is Hook.LIVENESS or not self._handlers
        self.verdict = HEALTHY if assumed else Verdict(False, f"{self.kind} has not been asked yet")
        self._failures = 0
        self._successes = 0

    @property
    def has_handlers(self) -> bool:
        return bool(self._handlers)

    async def ask(self) -> Verdict:
        """Ask every handler once, within the probe's time-out."""
        for name, handler in self._handlers:
            try:
                async with asyncio.timeout(self.probe.timeout):
                    answer = handler()
                    if inspect.isawaitable(answer):
                        answer = await answer
            except TimeoutError:
                return Verdict(False, f"{self.kind} {name}: no answer within {self.probe.timeout:g} s")
            except Exception as error:
                return Verdict(False, f"{self.kind} {name}: {type(error).__name__}: {error}")
            if not answer:
                return Verdict(False, f"{self.kind} {name}: answered {answer!r}")
        return HEALTHY

    async def update(self) -> bool:
        """Ask, and change the standing verdict once the probe's thresholds are reached; says whether it changed.

        A verdict of healthy needs `success_threshold` answers in a row, one of unhealthy `failure_threshold`.
        """
        answer = await self.ask()
        self._successes = self._successes + 1 if answer.healthy else 0
        self._failures = 0 if answer.healthy else self._failures + 1
        before = self.verdict
        if answer.healthy and self._successes >= self.probe.success_threshold:
            self.verdict = HEALTHY
        elif not answer.healthy and (not before.healthy or self._failures >= self.probe.failure_threshold):
            self.verdict = answer
        return self.verdict != before


class HealthMonitor:
    """Both checks of a replica; calls `on_change` at the first verdict and at every change."""

    def __init__(self, readiness: HealthCheck, liveness: HealthCheck, on_change: Callable[[], Awaitable[None]]) -> None:
        self.readiness = readiness
        self.liveness = liveness
        self._on_change = on_change

    async def run(self) -> None:
        """Ask until cancelled. Returns at once when there is nothing to ask."""
        async with asyncio.TaskGroup() as tasks:
            for check in (self.readiness, self.liveness):
                if check.has_handlers:
                    tasks.create_task(self._watch(check))

    async def _watch(self, check: HealthCheck) -> None:
        while True:
            await asyncio.sleep(check.probe.period)
            if await check.update():
                await self._on_change()
