"""What the engine relies on from any driver. A driver's tests subclass `DriverConformance` and say how to make one."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dynamod.drivers.base import Driver, Ended, Launch, LaunchError, NeverStarted, Running

DEADLINE = 30.0


class Ends:
    """Collects what a driver tells of ends."""

    def __init__(self) -> None:
        self.seen: dict[str, Ended] = {}
        self._changed = asyncio.Event()

    def __call__(self, replica_id: str, ended: Ended) -> None:
        self.seen[replica_id] = ended
        self._changed.set()

    async def of(self, replica_id: str) -> Ended:
        async with asyncio.timeout(DEADLINE):
            while replica_id not in self.seen:
                self._changed.clear()
                await self._changed.wait()
        return self.seen.pop(replica_id)


class DriverConformance(ABC):
    """Programs are shell scripts; `launch` turns one into what this driver starts."""

    @abstractmethod
    def make(self, base: Path, ends: Ends) -> Driver:
        """A driver over the state in `base`. Made twice over the same base, it is the engine after a restart."""

    @abstractmethod
    def launch(self, base: Path, replica_id: str, run: int, script: str) -> Launch: ...

    @abstractmethod
    async def kill_abruptly(self, running: Running) -> None:
        """End the replica's main process from outside, by SIGKILL."""

    @pytest.fixture
    def ends(self) -> Ends:
        return Ends()

    @pytest.fixture
    async def driver(self, tmp_path: Path, ends: Ends) -> AsyncIterator[Driver]:
        driver = self.make(tmp_path, ends)
        yield driver
        await driver.close()

    @pytest.fixture
    def start(self, tmp_path: Path, driver: Driver) -> Callable[..., Awaitable[Running]]:
        async def start(script: str, *, run: int = 1) -> Running:
            return await driver.start(self.launch(tmp_path, "a", run, script))

        return start

    @pytest.mark.parametrize("code", [0, 2, 7])
    async def test_exit_codes_are_told(self, start: Callable[..., Awaitable[Running]], ends: Ends, code: int) -> None:
        await start(f"exit {code}")
        ended = await ends.of("a")
        assert (ended.run, ended.code, ended.signal) == (1, code, None)

    async def test_signals_are_told_apart_from_codes(
        self, start: Callable[..., Awaitable[Running]], ends: Ends
    ) -> None:
        await self.kill_abruptly(await start("exec sleep 1000"))
        ended = await ends.of("a")
        assert (ended.code, ended.signal) == (None, 9)

    async def test_terminate_lets_it_drain(
        self, driver: Driver, start: Callable[..., Awaitable[Running]], ends: Ends, tmp_path: Path
    ) -> None:
        ready = tmp_path / "ready"
        await start(f"trap 'exit 5' TERM; touch {ready}; while :; do sleep 0.05; done")
        async with asyncio.timeout(DEADLINE):
            while not ready.exists():
                await asyncio.sleep(0.01)
        driver.terminate("a")
        assert (await ends.of("a")).code == 5

    async def test_kill_ends_the_stubborn(
        self, driver: Driver, start: Callable[..., Awaitable[Running]], ends: Ends
    ) -> None:
        await start("trap '' TERM; while :; do sleep 0.05; done")
        driver.terminate("a")
        driver.kill("a")
        assert (await ends.of("a")).signal == 9

    async def test_what_cannot_be_started_is_an_error(self, tmp_path: Path, driver: Driver) -> None:
        broken = replace(self.launch(tmp_path, "a", 1, "exit 0"), argv=["/no/such/program"])
        with pytest.raises(LaunchError):
            await driver.start(broken)

    async def test_the_next_run_follows_the_last(self, start: Callable[..., Awaitable[Running]], ends: Ends) -> None:
        for run in (1, 2, 3):
            assert (await start(f"exit {run}", run=run)).run == run
            ended = await ends.of("a")
            assert (ended.run, ended.code) == (run, run)

    async def test_a_second_copy_is_refused(
        self, driver: Driver, start: Callable[..., Awaitable[Running]], ends: Ends
    ) -> None:
        await start("exec sleep 1000")
        with pytest.raises(LaunchError):
            await start("exec sleep 1000", run=2)
        driver.kill("a")
        assert (await ends.of("a")).run == 1

    async def test_a_restarted_engine_finds_what_runs(
        self, driver: Driver, start: Callable[..., Awaitable[Running]], tmp_path: Path
    ) -> None:
        running = await start("exec sleep 1000")
        await driver.close()
        ends = Ends()
        again = self.make(tmp_path, ends)
        found = await again.recover("a", 1)
        assert found == running
        again.kill("a")
        assert (await ends.of("a")).signal == 9
        await again.close()

    async def test_a_restarted_engine_learns_what_ended(
        self, driver: Driver, start: Callable[..., Awaitable[Running]], tmp_path: Path
    ) -> None:
        running = await start("exec sleep 1000")
        await driver.close()
        await self.kill_abruptly(running)
        again = self.make(tmp_path, Ends())
        async with asyncio.timeout(DEADLINE):
            while not isinstance(found := await again.recover("a", 1), Ended):
                await again.close()
                await asyncio.sleep(0.02)
                again = self.make(tmp_path, Ends())
        assert found.signal == 9
        await again.close()

    async def test_a_run_that_never_began_is_proved(self, driver: Driver) -> None:
        assert await driver.recover("unknown", 4) == NeverStarted(4)
