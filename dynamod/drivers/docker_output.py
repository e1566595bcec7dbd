"""A container's output, stored as a replica's log (see `logfile`), and resumed where it was after a restart."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamod.drivers.logfile import log_dir
from dynamod.drivers.logwriter import LogWriter

if TYPE_CHECKING:
    from docker import DockerClient

_NOTE_EVERY_S = 0.5
"""How often the place is noted: who dies in between stores so much twice, and loses nothing."""


class Output:
    """Of one run. `follow` and `store` block; `cancel` ends them from another thread."""

    def __init__(self, directory: Path, run: int) -> None:
        self._directory = directory
        self._place = directory / f"logged-{run}"
        self._stream: Any = None
        self._lock = threading.Lock()
        self._cancelled = False

    def follow(self, client: DockerClient, container: str) -> None:
        """Store what comes until the container ends, or `cancel` is called."""
        self._read(client, container, follow=True)

    def store(self, client: DockerClient, container: str) -> None:
        """Store what there is."""
        self._read(client, container, follow=False)

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            if self._stream is not None:
                with contextlib.suppress(Exception):  # the SDK digs the socket out of its HTTP client
                    self._stream.close()

    def _read(self, client: DockerClient, container: str, *, follow: bool) -> None:
        last = self._noted()
        options: dict[str, Any] = {"since": float(_seconds(last))} if last else {}
        stream = client.api.logs(
            container, stdout=True, stderr=True, stream=True, follow=follow, timestamps=True, **options
        )
        with self._lock:
            if self._cancelled:
                _close(stream)
                return
            self._stream = stream
        writer = LogWriter(log_dir(str(self._directory)))
        noted_at = 0.0
        try:
            for chunk in stream:
                stamp, _, text = chunk.partition(b" ")
                if stamp <= last:
                    continue
                writer.write(text)
                last = stamp
                if time.monotonic() - noted_at > _NOTE_EVERY_S:
                    self._note(last)
                    noted_at = time.monotonic()
        except Exception:
            if not self._cancelled:  # else the stream was closed under our hands, which shows in many ways
                raise
        finally:
            with self._lock:
                self._stream = None
            _close(stream)
            writer.finish()
            writer.close()
            self._note(last)

    def _noted(self) -> bytes:
        try:
            return self._place.read_bytes()
        except FileNotFoundError:
            return b""

    def _note(self, stamp: bytes) -> None:
        if stamp:
            with contextlib.suppress(OSError):  # the replica was removed meanwhile, or the disk is full
                self._place.write_bytes(stamp)


def _close(stream: Any) -> None:
    """End a stream of the SDK, and close its socket, which the SDK digs out of its HTTP client and then forgets."""
    with contextlib.suppress(Exception):
        stream.close()
    response = getattr(stream, "_response", None)
    if response is not None:
        with contextlib.suppress(Exception):
            response.close()


def _seconds(stamp: bytes) -> float:
    """Seconds since the epoch of `2026-01-02T03:04:05.123456789Z`, rounded down to a whole one."""
    from calendar import timegm

    return float(timegm(time.strptime(stamp[:19].decode(), "%Y-%m-%dT%H:%M:%S")))
