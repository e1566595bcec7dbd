"""The daemon's own log: lines in UTC on stderr, secrets hidden; bounded where stderr is the log in the state directory.

Whoever starts the daemon detached gives it that file as stderr, so that even an interpreter that dies leaves its last
words there. A service manager's journal, or a file of somebody else's, is left to its owner.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

from dynamod.redaction import RedactingFormatter

MAX_BYTES = 8 << 20
KEPT = 3
"""Files that were put aside: dynamod.log.1 is the newest."""


class OwnLog(logging.StreamHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """Writes to stderr. When that is `path` and has grown to `max_bytes`, it is put aside between two lines, and stderr
    and stdout go on in a new file."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(sys.stderr)
        self._path = path
        self._max_bytes = max_bytes
        formatter = RedactingFormatter(
            "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        try:
            self._bound()
        except OSError:
            self.handleError(record)

    def _bound(self) -> None:
        ours = os.fstat(2)
        if ours.st_size < self._max_bytes:  # a pipe and a terminal have no size
            return
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return
        if (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino):
            return
        for number in range(KEPT, 1, -1):
            older = aside(self._path, number - 1)
            if older.exists():
                older.replace(aside(self._path, number))
        self._path.replace(aside(self._path, 1))
        fresh = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            out = os.fstat(1)
            os.dup2(fresh, 2)
            if (out.st_dev, out.st_ino) == (ours.st_dev, ours.st_ino):
                os.dup2(fresh, 1)
        finally:
            os.close(fresh)


def aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def set_up_logging(path: Path, level: str = "INFO") -> None:
    """Log to stderr; `path` is the log in the state directory, which is bounded."""
    logging.basicConfig(level=level, handlers=[OwnLog(path)], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
