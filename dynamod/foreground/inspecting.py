"""Reads a graph in its own interpreter: `python -m dynamo.sdk.inspect` as a subprocess."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from dynamo.sdk.spec import GraphSpec, SpecError, decode
from dynamod.schema.serve import ServeOptions

TIMEOUT_S = 300.0
"""Importing a graph that imports torch from a slow disk takes minutes; not answering at all is an error."""


class InspectionFailed(Exception):
    """The graph cannot be read. The message is empty when the subprocess has said why itself."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Inspection:
    """Runs from the moment it is made. Leaving its context ends it."""

    def __init__(self, options: ServeOptions) -> None:
        self.interpreter = options.interpreter or sys.executable
        try:
            self._process = subprocess.Popen(
                [self.interpreter, "-m", "dynamo.sdk.inspect", *inspect_arguments(options)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                cwd=Path.cwd(),
            )
        except OSError as error:
            raise InspectionFailed(f"cannot run {self.interpreter}: {error.strerror}", 2) from None

    def __enter__(self) -> Inspection:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        with contextlib.suppress(OSError):
            self._process.communicate()

    def result(self) -> GraphSpec:
        """Wait for the spec.

        Raises:
            InspectionFailed: the graph cannot be imported, or is no graph.
        """
        try:
            printed, _ = self._process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise InspectionFailed(f"the graph was not imported within {TIMEOUT_S:.0f} s", 1) from None
        code = self._process.returncode
        if code == 2:
            raise InspectionFailed("", 2)
        if code != 0:
            raise InspectionFailed(f"{self.interpreter} could not read the graph (exit code {code})", 1)
        try:
            return decode(printed)
        except SpecError as error:
            raise InspectionFailed(str(error), 2) from None


def inspect_arguments(options: ServeOptions) -> list[str]:
    """The command line of inspect for what `serve` was asked."""
    arguments = [options.target]
    flags = {
        "--file": options.config_file,
        "--name": options.name,
        "--working-dir": options.working_dir or None,
        "--port": None if options.port is None else str(options.port),
        "--host": options.host,
        "--service-name": options.service_name,
    }
    for flag, value in flags.items():
        if value is not None:
            arguments += [flag, value]
    return [*arguments, *options.overrides]
