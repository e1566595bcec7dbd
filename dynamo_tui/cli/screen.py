"""A picture on the terminal that is drawn anew in place."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable


def redraw(lines: Iterable[str]) -> None:
    """Replace what the terminal shows by these lines, cut to its size."""
    size = shutil.get_terminal_size()
    shown = [line[: size.columns] for line in lines][: size.lines - 1]
    # home, each line cleared to its end, the rest of the screen cleared: no flicker
    sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
    sys.stdout.flush()
