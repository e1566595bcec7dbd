"""Commands that take a while (build, deploy, containerize): run as `dynamoctl` runs them, beside the dashboard."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from dynamo_tui.client.contexts import Context, ContextFile, local_context, save_contexts
from dynamo_tui.tui.widgets.log_view import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES_HELD = 2_000
END_S = 10.0
"""How long a command may take to end once it is told to."""
_LONGEST_LINE = 1 << 20
_numbers = count(1)


class JobState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job:
    """One command line. `lines` are the last of what it printed, on stdout and stderr together."""

    def __init__(self, words: Sequence[str], context: Context, *, now: Callable[[], float] = time.time) -> None:
        self.number = next(_numbers)
        self.words = tuple(words)
        self.context = context
        self.state = JobState.RUNNING
        self._now = now
        self.started_at = now()
        self.ended_at: float | None = None
        self.lines: deque[str] = deque(maxlen=LINES_HELD)
        self.printed = 0
        self._process: asyncio.subprocess.Process | None = None
        self._cancelled = False

    @property
    def command(self) -> str:
        return shlex.join(["dynamoctl", *self.words])

    @property
    def took(self) -> float:
        """Seconds so far, or in all."""
        return (self.ended_at or self._now()) - self.started_at

    async def run(self, told: Callable[[], object]) -> None:
        """Run it to its end; `told` is called after each line and at the end. Cancelled, it ends the command."""
        try:
            with _environment(self.context) as environ:
                await self._run(environ, told)
        except OSError as error:
            self._say(f"cannot run it: {error.strerror}")
            self.end(JobState.FAILED)
        told()

    async def _run(self, environ: Mapping[str, str], told: Callable[[], object]) -> None:
        # A group of its own: what the command has started ends with it.
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "dynamo_tui.cli",
            *self.words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environ,
            process_group=0,
            limit=_LONGEST_LINE,
        )
        if self._cancelled:
            self._signal(process, signal.SIGTERM)
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                self._say(line.decode("utf-8", "replace"))
                told()
            code = await process.wait()
        except BaseException:
            await self._kill(process)
            self.end(JobState.CANCELLED)
            raise
        ended = JobState.DONE if code == 0 else JobState.FAILED
        self.end(JobState.CANCELLED if self._cancelled else ended)

    def _say(self, line: str) -> None:
        # Progress that is written over and over on one line: its last form counts.
        text = plain(line.rstrip("\r\n").rpartition("\r")[2])
        if text:
            self.lines.append(text)
            self.printed += 1

    def end(self, state: JobState) -> None:
        """It is over, like this."""
        self.state = state
        self.ended_at = self._now()

    def cancel(self) -> None:
        """Ask the command to end; asked again, it is killed. What it has handed over to a daemon stays there."""
        number = signal.SIGKILL if self._cancelled else signal.SIGTERM
        self._cancelled = True
        if self._process is not None:
            self._signal(self._process, number)

    def _signal(self, process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        self._signal(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            self._signal(process, signal.SIGKILL)
            await process.wait()


@contextmanager
def _environment(context: Context) -> Iterator[dict[str, str]]:
    """The environment in which `dynamoctl` talks to that daemon.

    A context that no file names is written to a private one: tokens stand on no command line.
    """
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if context == local_context(os.environ):
        yield environ | {"DYNAMOD_CONTEXT": context.name}
        return
    with tempfile.TemporaryDirectory(prefix="dynamo-tui-") as home:
        file = Path(home) / "contexts.json"
        save_contexts(file, ContextFile(current=context.name, contexts={context.name: context}))
        yield environ | {"DYNAMOD_CONFIG": str(file), "DYNAMOD_CONTEXT": context.name}
