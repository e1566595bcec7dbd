"""The shell of the programs that the front ends and the daemon run: `python -m MODULE --options FILE`.

The file holds the options as JSON. What the program tells goes to stdout, one JSON object a line; the last line is its
answer, or `{"error", "type", "field", "remedy", "reason"}` with exit code 2.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dynamod.core.errors import EngineError

INTERRUPTED = 130


def tell(message: Any) -> None:
    """One line on stdout, at once."""
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def run(module: str, kind: Any, do: Callable[[Any], Any], arguments: Sequence[str] | None = None) -> int:
    """Read options of that kind, do it, tell what comes of it; the exit code. SIGTERM interrupts as Ctrl-C does."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) != 2 or given[0] != "--options":
        sys.stderr.write(f"usage: python -m {module} --options FILE\n")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        tell(do(msgspec.json.decode(Path(given[1]).read_bytes(), type=kind)))
    except (OSError, msgspec.DecodeError) as error:
        tell({"error": str(error), "field": None, "remedy": None})
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except EngineError as error:
        told = {"error": error.detail, "type": error.type, "field": error.field, "remedy": error.remedy}
        tell(told | {"reason": error.reason})
        return 2
    return 0
