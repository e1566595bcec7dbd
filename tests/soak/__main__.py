"""`make soak`: everything at once, for as long as you like, while everything fails in turn.

    python -m tests.soak [--minutes 5] [--settings local,shared] [--json FILE] [--seed N] [--ready-within 10]

`local` is the embedded discovery with Unix sockets, `shared` etcd and NATS behind a proxy that cuts connections; each
gets its share of the time. Storms of faults alternate with quiet, in which everything must be ready again within
10 s and nothing may be left over. Exit code: 1 with findings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dynamo_tui.client import calls
from dynamo_tui.client.errors import ClientError
from dynamod.schema import GraphSubmit
from tests.soak import chats, checks, operators
from tests.soak.faults import faults_of
from tests.soak.report import Report
from tests.soak.world import World

STATE_MIB = 256
_INSIDE = "DYN_SOAK_INSIDE"
STORM_S = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--settings", default="local,shared")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--ready-within", type=float, default=10.0, help="seconds after the last fault")
    parser.add_argument("--json", type=Path, help="write the report there, too")
    options = parser.parse_args()
    _into_a_namespace()
    reports = []
    settings = options.settings.split(",")
    for setting in settings:
        report = Report(setting, options.seed)
        with _home() as (directory, can_fill):
            if not can_fill:
                report.notes.append("the disk was not filled: mounting a file system needs root or user namespaces")
            seconds = 60.0 * options.minutes / len(settings)
            asyncio.run(soak(directory, report, can_fill=can_fill, seconds=seconds, limit=options.ready_within))
            if report.findings:
                shutil.copy(directory / "dynamod.log", Path(tempfile.gettempdir()) / f"soak-{setting}-dynamod.log")
        reports.append(report)
        sys.stdout.write(f"{report.text()}\n\n")
    if options.json:
        options.json.write_text(json.dumps([report.as_json() for report in reports], indent=2))
    return 1 if any(report.findings for report in reports) else 0


async def soak(directory: Path, report: Report, *, can_fill: bool, seconds: float, limit: float) -> None:
    chance = random.Random(report.seed)
    async with World(directory, report, shared=report.setting == "shared", can_fill=can_fill) as world:
        world.mend()
        operator = operators.Operator(world, report.seed)
        await _submit(world)
        await checks.ready_again(world, operator, 90.0)
        report.recoveries_s.clear()
        work = [chats.call(world, report.seed + n) for n in range(chats.CALLERS)]
        work += [chats.misbehave(world, report.seed + n) for n in range(3)]
        work += [operator.work(), operators.follow_events(world), operators.follow_logs(world), checks.watch(world)]
        work.append(checks.feel_lateness(world))
        tasks = [asyncio.create_task(one) for one in work]
        try:
            await _storms(world, operator, chance, seconds, limit)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                report.found(f"the soak itself failed: {end!r}")
        checks.leaks(world)
        await _take_down(world)
        report.seconds = time.monotonic() - report.began


async def _storms(
    world: World, operator: operators.Operator, chance: random.Random, seconds: float, limit: float
) -> None:
    end = time.monotonic() + seconds
    faults = faults_of(world)
    while time.monotonic() < end:
        world.calm.set()
        storm_ends = min(time.monotonic() + STORM_S, end)
        await asyncio.sleep(1.0)
        while time.monotonic() < storm_ends:
            name = chance.choice(sorted(faults))
            target = await faults[name](world, chance)
            if target is not None:
                world.report.faults[f"{name} {target}".strip()] += 1
            await asyncio.sleep(chance.uniform(0.3, 2.0))
        world.mend()
        world.calm.clear()
        found = await checks.ready_again(world, operator, limit)
        await asyncio.sleep(1.0)
        try:
            await checks.look(world, operator, found)
        except ClientError as error:
            world.report.found(f"the daemon does not answer in the quiet: {error}")


async def _submit(world: World) -> None:
    deadline = time.monotonic() + 60
    for spec in (world.chat_spec, world.side_spec):
        while True:
            try:
                await world.client.send(calls.submit(GraphSubmit(spec=spec)))
                break
            except ClientError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)


async def _take_down(world: World) -> None:
    """Remove both graphs: nothing is left, neither process nor claim."""
    deadline = time.monotonic() + 60
    for name in ("chat", "side"):
        await world.client.send(calls.remove(name))
    while time.monotonic() < deadline:
        graphs = (await world.client.send(calls.graphs())).items
        if not graphs and not world.processes() and not any(g.claimed for g in await world.client.send(calls.gpus())):
            return
        await asyncio.sleep(0.2)
    world.report.found(f"after the removal of everything there are left: {graphs}, {world.processes()}")


def _into_a_namespace() -> None:
    """Go on in a mount namespace of our own, where this can be had: what is mounted there ends with us."""
    if os.environ.get(_INSIDE) or shutil.which("unshare") is None:
        return
    enter = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode != 0:
        return
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", [*enter, sys.executable, "-m", "tests.soak", *sys.argv[1:]])


@contextmanager
def _home() -> Iterator[tuple[Path, bool]]:
    """A directory whose `state` is a small file system of its own, and whether it is."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        state = Path(name) / "state"
        state.mkdir(mode=0o700)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={STATE_MIB}m,mode=0700", "none", str(state)]
        inside = bool(os.environ.get(_INSIDE))
        mounted = inside and subprocess.run(mount, capture_output=True, check=False).returncode == 0
        try:
            yield Path(name), mounted
        finally:
            if mounted:
                subprocess.run(["umount", "--lazy", str(state)], capture_output=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
