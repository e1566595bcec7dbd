"""What a state directory and the process table prove, whatever an engine says. Each look returns its findings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from dynamod.drivers import logfile
from dynamod.drivers.identity import read_exit
from dynamod.engine import Engine
from dynamod.schema import Replica
from dynamod.schema.locations import Locations


def replica_processes(places: Locations) -> Counter[str]:
    """Live main processes by replica, found by their environment."""
    found: Counter[str] = Counter()
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            argv = process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if environ.get("DYN_DISCOVERY", "").endswith(str(places.discovery_socket)) and "--service-name" in argv:
            found[environ["DYN_REPLICA_ID"]] += 1
    return found


def doubled_or_orphaned(places: Locations, found: Iterable[Replica]) -> Iterator[str]:
    """Each replica has one process, and each process is a replica's."""
    alive, known = replica_processes(places), {r.id for r in found}
    for replica in sorted(known | set(alive)):
        if replica not in known:
            yield f"{replica} runs, and no engine knows of it"
        elif alive[replica] != 1:
            yield f"{replica} has {alive[replica]} processes"


def exits_missing(places: Locations, live: dict[str, int]) -> Iterator[str]:
    """Every run but the present ones (`live`: run by replica) has left its exit code."""
    for directory in places.replicas_dir.iterdir():
        for record in directory.glob("run-*.json"):
            run = int(record.stem.split("-")[1])
            if live.get(directory.name) != run and read_exit(directory, run) is None:
                yield f"{directory.name} run {run} left no exit code"


def log_lines(directory: Path) -> list[bytes]:
    """All that a replica has printed, over its runs."""
    log = logfile.log_dir(str(directory))
    pieces = [(Path(log) / logfile.segment_name(n)).read_bytes() for n in logfile.segments(log)]
    return b"".join(pieces).split(b"\n")


def ticks_missing(places: Locations) -> Iterator[str]:
    """Every run's ticks are numbered without a gap, and every index record points at the start of a line."""
    for directory in places.replicas_dir.iterdir():
        log = Path(logfile.log_dir(str(directory)))
        if not logfile.segments(str(log)):
            continue  # it never ran, or its graph has just been removed
        records = logfile.read_index(str(log), 0)  # before the lines: the replica goes on writing
        lines = log_lines(directory)
        expected = 1
        for line in lines:
            if line.endswith(b" is up"):
                expected = 1
            elif line.startswith(b"tick "):
                if line != b"tick %d" % expected:
                    yield f"{directory.name} printed {line.decode()!r} where tick {expected} was due"
                expected += 1
        first = (log / logfile.segment_name(0)).read_bytes()
        for _, offset, number in records:
            if b"\n".join(lines[:number]) + b"\n" * bool(number) != first[:offset]:
                yield f"{directory.name}: the index places line {number} at byte {offset}, where it does not begin"


def counts_missing(places: Locations, answered: Iterable[int]) -> Iterator[str]:
    """Every answered request was counted by exactly one replica, in a line that is still there."""
    counted: Counter[int] = Counter()
    for directory in places.replicas_dir.iterdir():
        text = b"\n".join(log_lines(directory))
        counted.update(int(n) for n in re.findall(rb"^counted (\d+)$", text, re.MULTILINE))
    for number in answered:
        if counted[number] != 1:
            yield f"request {number} was answered, and its line is there {counted[number]} times"


async def event_gaps(engine: Engine) -> Iterator[str]:
    """The numbers of all events from the first on."""
    found: list[str] = []
    after = 0
    while page := (await engine.events(after, 1000)).items:
        for event in page:
            if event.seq != after + 1:
                found.append(f"event {event.seq} follows {after}")
            after = event.seq
    return iter(found)
