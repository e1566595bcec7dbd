"""`python -m dynamod.foreground --options FILE`: run the graph that the options name until told to stop.

Exit codes: 0 stopped as asked or a dry run, 1 the graph failed, 2 its code or configuration is wrong, 130
told to stop twice. Log lines of the graph go to stdout, what this program says to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dynamod.core.errors import EngineError
from dynamod.foreground.building import unpacked
from dynamod.foreground.inspecting import Inspection, InspectionFailed
from dynamod.schema.serve import ServeOptions


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 2 or given[0] != "--options":
        return fail("usage: python -m dynamod.foreground --options FILE", 2)
    try:
        options = _read_options(Path(given[1]))
    except (OSError, msgspec.DecodeError) as error:
        return fail(f"cannot read {given[1]}: {error}", 2)
    try:
        # The graph is read by its own interpreter, and meanwhile this one imports the engine.
        with unpacked(options, _say) as options, Inspection(options) as inspection:
            if options.dry_run:
                from dynamod.foreground.dry_run import describe

                sys.stdout.write(describe(inspection.result(), os.environ))
                return 0

            import uvloop

            from dynamod.foreground.session import run_session

            return uvloop.run(run_session(options, inspection))
    except EngineError as error:
        return fail(str(error), 2)
    except InspectionFailed as error:
        return fail(str(error), error.exit_code)
    except KeyboardInterrupt:  # Ctrl-C before the session has taken the signals over: nothing was started
        return 130


def fail(message: str, code: int) -> int:
    if message:
        sys.stderr.write(f"dynamo serve: {message}\n")
    return code


def _say(step: str) -> None:
    sys.stderr.write(f"{step}\n")


def _read_options(path: Path) -> ServeOptions:
    """The options; their file is private to this run and goes."""
    data = path.read_bytes()
    path.unlink(missing_ok=True)
    return msgspec.json.decode(data, type=ServeOptions)


if __name__ == "__main__":
    sys.exit(main())
