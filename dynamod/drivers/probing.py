"""One look at a replica: over http, tcp, a command, or its log. Each answers with a verdict and one line of text."""

from __future__ import annotations

import asyncio
import math
import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dynamo.sdk.spec import ProbeSpec
from dynamod.drivers import logfile

_HEAD_BYTES = 65536
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Subject:
    """What is probed: one run of a replica. `address` is the URL of its HTTP face, if it has reported one; `host`
    where its ports are reached; `execute` runs a command where it runs. `first_line` is the number of the first line of
    its log, None as long as that is not known; without it, the run's log begins at `started_at`.
    """

    started_at: float
    log_dir: str
    address: Callable[[], str | None]
    port: int | None
    host: Callable[[], str]
    execute: Callable[[Sequence[str]], Awaitable[tuple[int, bytes]]]
    first_line: Callable[[], int | None] | None = None


@dataclass(frozen=True)
class Verdict:
    healthy: bool
    text: str


Probe = Callable[[], Awaitable[Verdict]]


def probe_for(spec: ProbeSpec, subject: Subject) -> Probe:
    """The probe that a spec asks for; `sdk` has none, replicas report themselves.

    Raises:
        ValueError: its kind has no probe, or its target cannot be understood.
    """
    if spec.kind == "http":
        return lambda: _http(spec.target, subject)
    if spec.kind == "tcp":
        return lambda: _tcp(spec.target, subject)
    if spec.kind == "exec":
        return lambda: _exec(shlex.split(spec.target), subject)
    if spec.kind == "log":
        return LogProbe(spec.target, subject)
    raise ValueError(f"there is no probe of kind {spec.kind!r}")


async def look(probe: Probe, timeout: float) -> Verdict:
    """Probe once; taking longer than `timeout` seconds, or failing, is being unhealthy."""
    try:
        async with asyncio.timeout(timeout):
            return await probe()
    except TimeoutError:
        return Verdict(False, f"no answer within {timeout:g} s")
    except (OSError, ValueError) as error:
        return Verdict(False, str(error) or type(error).__name__)


async def _http(target: str, subject: Subject) -> Verdict:
    """GET; any status from 200 to 399 is healthy."""
    url = target
    if not target.startswith(("http://", "https://")):
        base = subject.address() or (f"http://{subject.host()}:{subject.port}" if subject.port else None)
        if base is None:
            return Verdict(False, "its HTTP address is not known yet")
        url = f"{base.rstrip('/')}/{target.lstrip('/')}"
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host = parts.hostname or "127.0.0.1"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    reader, writer = await asyncio.open_connection(host, parts.port or (443 if secure else 80), ssl=secure or None)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        words = (await reader.readline()).decode(errors="replace").split(maxsplit=2)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    if len(words) < 2 or not words[1].isdigit():
        return Verdict(False, f"GET {url}: not an HTTP answer")
    return Verdict(200 <= int(words[1]) < 400, f"GET {url}: {' '.join(words[1:]).strip()}")


async def _tcp(target: str, subject: Subject) -> Verdict:
    host, _, port = target.rpartition(":")
    number = int(port) if port else subject.port
    if number is None:
        return Verdict(False, "its port is not known")
    _, writer = await asyncio.open_connection(host or subject.host(), number)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return Verdict(True, f"port {number} accepts connections")


async def _exec(argv: list[str], subject: Subject) -> Verdict:
    """Exit code 0 is healthy; the last line of its output is the text."""
    code, output = await subject.execute(argv)
    lines = output[-_HEAD_BYTES:].decode(errors="replace").strip().splitlines()
    return Verdict(code == 0, f"exit code {code}" + (f": {lines[-1]}" if lines else ""))


class LogProbe:
    """Healthy from the first line on that matches, among those of this run."""

    def __init__(self, pattern: str, subject: Subject) -> None:
        self._pattern = re.compile(pattern)
        self._subject = subject
        self._place: tuple[int, int] | None = None
        self._found = ""

    async def __call__(self) -> Verdict:
        if not self._found:
            await asyncio.to_thread(self._read)
        if self._found:
            return Verdict(True, f"its log says: {self._found}")
        return Verdict(False, f"no line of its log matches {self._pattern.pattern!r} yet")

    def _read(self) -> None:
        if self._place is None:
            self._place = self._first_of_run()
            if self._place is None:
                return
        segment, offset = self._place
        last = max(logfile.segments(self._subject.log_dir), default=segment)
        while not self._found:
            offset = self._scan(segment, offset)
            if segment >= last:
                break
            segment, offset = segment + 1, 0
        self._place = (segment, offset)

    def _first_of_run(self) -> tuple[int, int] | None:
        """Where its first chunk begins: by its line, since clocks may be set, or by time where that is unknown."""
        subject = self._subject
        first = subject.first_line() if subject.first_line is not None else 0
        if first is None:
            return None
        since = subject.started_at if subject.first_line is None else -math.inf
        for number in logfile.segments(subject.log_dir):
            for time, offset, line in logfile.read_index(subject.log_dir, number):
                if line >= first and time >= since:
                    return number, offset
        return None

    def _scan(self, segment: int, offset: int) -> int:
        """Look through whole lines from `offset` on; returns where to go on."""
        try:
            with (Path(self._subject.log_dir) / logfile.segment_name(segment)).open("rb") as file:
                file.seek(offset)
                while lines := file.readlines(_CHUNK_BYTES):
                    for line in lines:
                        if not line.endswith(b"\n"):
                            return offset
                        offset += len(line)
                        text = line.decode(errors="replace").rstrip("\n")
                        if self._pattern.search(text):
                            self._found = text[:500]
                            return offset
        except FileNotFoundError:
            pass  # rotated away
        return offset
