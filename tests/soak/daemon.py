"""`dynamod` on a machine whose clock is set while it runs: `python -m tests.soak.daemon CLOCK_FILE [ARGUMENTS]`.

CLOCK_FILE holds the seconds by which `time.time` is off, and is read at every call. Only the daemon's wall clock jumps:
its monotonic clocks do not, as on a real machine, and shims and replicas keep the true time, which is harder still.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from dynamod.__main__ import main


def off_by(file: Path, true: Callable[[], float]) -> Callable[[], float]:
    def now() -> float:
        try:
            return true() + float(file.read_text() or 0)
        except (OSError, ValueError):
            return true()

    return now


if __name__ == "__main__":
    time.time = off_by(Path(sys.argv[1]), time.time)
    sys.exit(main(sys.argv[2:]))
