"""What the engine relies on from any driver, of a replica's whole life. `make test-docker` runs it on containers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from dynamod.drivers.base import Driver, Ended, LaunchError, NeverStarted, Running
from dynamod.schema import locations
from tests.conformance.subjects import DEADLINE, Ends, Subject

FOREVER = "exec sleep 1000"

pytestmark = [
    # Docker's SDK leaves the sockets of streams that ended to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket.*docker.sock:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket.*docker.sock:pytest.PytestUnraisableExceptionWarning"
    ),
]


@pytest.fixture
def start(subject: Subject, driver: Driver) -> Callable[..., Awaitable[Running]]:
    async def start(script: str, *, replica_id: str = "a", run: int = 1) -> Running:
        return await driver.start(subject.launch(replica_id, run, script))

    return start


def output(subject: Subject, replica_id: str = "a") -> bytes:
    directory = locations(subject.base).replica_dir(replica_id)
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*.log")) if path.name != "shim.log")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("code", [0, 2, 7])
async def test_exit_codes_are_told(start: Callable[..., Awaitable[Running]], ends: Ends, code: int) -> None:
    await start(f"exit {code}")
    ended = await ends.of("a")
    assert (ended.run, ended.code, ended.signal) == (1, code, None)


async def test_signals_are_told_apart_from_codes(
    start: Callable[..., Awaitable[Running]], ends: Ends, subject: Subject
) -> None:
    await subject.kill_abruptly(await start(FOREVER))
    ended = await ends.of("a")
    assert (ended.code, ended.signal, ended.oom_kills) == (None, 9, 0)


async def test_out_of_memory_is_told_apart_from_other_kills(driver: Driver, subject: Subject, ends: Ends) -> None:
    wait = f"while [ ! -e {subject.base}/go ]; do sleep 0.05; done"
    script = f"{wait}; exec python3 -c 'x = bytearray(400 << 20)'"
    running = await driver.start(subject.launch("a", 1, script, memory=64 << 20))
    if running.lacking:
        driver.kill("a")
        await ends.of("a")
        pytest.skip(running.lacking)
    (subject.base / "go").touch()
    ended = await ends.of("a")
    assert (ended.code, ended.signal) == (None, 9)
    assert ended.oom_kills > 0


async def test_output_is_stored(start: Callable[..., Awaitable[Running]], ends: Ends, subject: Subject) -> None:
    await start("echo one; echo two >&2; printf three")
    await ends.of("a")
    assert sorted(output(subject).split()) == [b"one", b"three", b"two"]


async def test_commands_run_beside_it(
    driver: Driver, start: Callable[..., Awaitable[Running]], ends: Ends, subject: Subject
) -> None:
    launch = subject.launch("a", 1, FOREVER)
    await start(FOREVER)
    assert await driver.execute(launch, ["/bin/sh", "-c", "echo $WORD; exit 3"]) == (3, b"hello\n")
    code, told = await driver.execute(launch, ["/bin/sh", "-c", "pwd; echo no >&2"])
    assert (code, sorted(told.split())) == (0, [str(subject.base).encode(), b"no"])
    driver.kill("a")
    await ends.of("a")


async def test_its_ports_are_reached(
    driver: Driver, start: Callable[..., Awaitable[Running]], ends: Ends, subject: Subject
) -> None:
    ready = subject.base / "port"
    await start(
        "exec python3 -c '"
        'import pathlib, socket, time; s = socket.create_server(("", 0));'
        f'pathlib.Path("{ready}.new").write_text(str(s.getsockname()[1]));'
        f'pathlib.Path("{ready}.new").rename("{ready}"); time.sleep(1000)\''
    )
    await until(ready.exists)
    async with asyncio.timeout(DEADLINE):
        _, writer = await asyncio.open_connection(driver.host_of("a"), int(ready.read_text()))
    writer.close()
    assert driver.doubt("a") == ""
    driver.kill("a")
    await ends.of("a")


async def test_terminate_lets_it_drain(
    driver: Driver, start: Callable[..., Awaitable[Running]], ends: Ends, subject: Subject
) -> None:
    ready = subject.base / "ready"
    await start(f"trap 'exit 5' TERM; touch {ready}; while :; do sleep 0.05; done")
    await until(ready.exists)
    driver.terminate("a")
    assert (await ends.of("a")).code == 5


async def test_kill_ends_the_stubborn(
    driver: Driver, start: Callable[..., Awaitable[Running]], ends: Ends, subject: Subject
) -> None:
    ready = subject.base / "ready"
    await start(f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done")
    await until(ready.exists)
    driver.terminate("a")
    driver.kill("a")
    assert (await ends.of("a")).signal == 9


async def test_one_is_stopped_while_the_others_go_on(
    driver: Driver, start: Callable[..., Awaitable[Running]], ends: Ends
) -> None:
    """The engine stops callers before what they call: an end is told as soon as it has come, and is nobody else's."""
    for name in ("caller", "called"):
        await start(FOREVER, replica_id=name)
    driver.kill("caller")
    await ends.of("caller")
    assert not ends.seen
    driver.kill("called")
    assert (await ends.of("called")).signal == 9


async def test_what_cannot_be_started_is_an_error(subject: Subject, driver: Driver, ends: Ends) -> None:
    """Or it ends at once as a shell ends it, where an init process stands between."""
    broken = replace(subject.launch("a", 1, "exit 0"), argv=["/no/such/program"])
    try:
        await driver.start(broken)
    except LaunchError:
        return
    assert (await ends.of("a")).code == 127
    assert b"/no/such/program" in output(subject)


async def test_the_next_run_follows_the_last(start: Callable[..., Awaitable[Running]], ends: Ends) -> None:
    for run in (1, 2, 3):
        assert (await start(f"exit {run}", run=run)).run == run
        ended = await ends.of("a")
        assert (ended.run, ended.code) == (run, run)


async def test_a_second_copy_is_refused(driver: Driver, start: Callable[..., Awaitable[Running]], ends: Ends) -> None:
    await start(FOREVER)
    with pytest.raises(LaunchError):
        await start(FOREVER, run=2)
    driver.kill("a")
    assert (await ends.of("a")).run == 1


async def test_a_restarted_engine_finds_what_runs(
    driver: Driver, start: Callable[..., Awaitable[Running]], subject: Subject
) -> None:
    running = await start(f"echo before; {FOREVER}")
    await until(lambda: b"before" in output(subject))
    await driver.close()
    ends = Ends()
    again = subject.make(ends)
    assert await again.recover("a", 1) == running
    assert await again.execute(subject.launch("a", 1, ""), ["/bin/sh", "-c", "exit 0"]) == (0, b"")
    again.kill("a")
    assert (await ends.of("a")).signal == 9
    assert output(subject).split() == [b"before"], "nothing is stored twice"
    await again.close()


async def test_a_restarted_engine_learns_what_ended(
    driver: Driver, start: Callable[..., Awaitable[Running]], subject: Subject
) -> None:
    running = await start(FOREVER)
    await driver.close()
    await subject.kill_abruptly(running)
    again = subject.make(Ends())
    async with asyncio.timeout(DEADLINE):
        while not isinstance(found := await again.recover("a", 1), Ended):
            await again.close()
            await asyncio.sleep(0.02)
            again = subject.make(Ends())
    assert found.signal == 9
    await again.close()


async def test_a_run_that_never_began_is_proved(driver: Driver) -> None:
    assert await driver.recover("unknown", 4) == NeverStarted(4)


async def test_remove_leaves_nothing(
    driver: Driver, start: Callable[..., Awaitable[Running]], ends: Ends, subject: Subject
) -> None:
    for name in ("a", "b"):
        await start(f"echo {name}; {FOREVER}", replica_id=name)
    for name in ("a", "b"):
        driver.kill(name)
        await ends.of(name)
    await driver.remove("a")
    assert not locations(subject.base).replica_dir("a").exists()
    await driver.remove("b", keep_output=True)
    assert output(subject, "b") == b"b\n"
    assert subject.leftovers() == []
    await driver.remove("b")
    assert not locations(subject.base).replica_dir("b").exists()
