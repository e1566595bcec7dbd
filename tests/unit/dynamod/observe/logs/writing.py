"""Writes replica logs the way the shim does, with times of the test's choosing."""

from __future__ import annotations

import time
from pathlib import Path
from unittest import mock

from dynamod.drivers import logfile
from dynamod.drivers.logwriter import LogWriter
from dynamod.observe.logs.query import LogSource


class WrittenLog:
    def __init__(self, root: Path, replica: str, service: str = "Worker", *, segment_bytes: int = 1 << 20) -> None:
        self.directory = logfile.log_dir(str(root / replica))
        self.writer = LogWriter(self.directory, segment_bytes=segment_bytes, keep=1000)
        self.source = LogSource(replica, service, self.directory)

    def write(self, text: str, at: float | None = None) -> None:
        if at is None:
            self.writer.write(text.encode())
            return
        with mock.patch.object(time, "time", return_value=at):
            self.writer.write(text.encode())
