"""What vLLM says while it starts, as short progress lines.

The engine's processes write to the standard error they inherit, so this puts a pipe there and passes every
byte on to where it would have gone.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable

_SIGNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"Loading (?:safetensors|pt) checkpoint shards:.*?(\d+/\d+)"), "loading weights {0}"),
    (re.compile(r"Loading weights took ([\d.]+) ?s"), "weights loaded in {0} s"),
    (re.compile(r"Starting to load model (\S+?)\.\.\."), "loading model {0}"),
    (re.compile(r"Capturing CUDA graphs.*?(\d+/\d+)"), "capturing CUDA graphs {0}"),
    (re.compile(r"KV cache size: ([\d,]+) tokens"), "KV cache holds {0} tokens"),
    (re.compile(r"torch\.compile takes"), "compiled"),
    (re.compile(r"init engine .* took ([\d.]+) s"), "engine initialised in {0} s"),
)


_ERROR = re.compile(r"\b(\w*(?:Error|Exception): .+)")


def progress_of(line: str) -> str | None:
    """The progress that a line of vLLM's log shows, or None."""
    for pattern, form in _SIGNS:
        match = pattern.search(line)
        if match:
            return form.format(*match.groups())
    return None


def error_of(line: str) -> str | None:
    """The exception that a line of a traceback ends with, or None."""
    match = _ERROR.search(line)
    return match[1].strip() if match else None


class StderrWatch:
    """Watches standard error until `close`; `report` is called from a thread of its own."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report: Callable[[str], None] | None = report
        self.last_error = ""
        """What an engine's process raised last; what vLLM raises here afterwards only says that one failed."""
        self._original = os.dup(2)
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        self._pipe = os.fstat(2)
        self._thread = threading.Thread(target=self._pump, args=(reading,), name="stderr-watch", daemon=True)
        self._thread.start()

    def _pump(self, reading: int) -> None:
        rest = b""
        last = ""
        while data := os.read(reading, 65536):
            os.write(self._original, data)
            report = self._report
            if report is None:
                continue
            *lines, rest = re.split(rb"[\r\n]", rest + data)
            for line in lines:
                text = line.decode(errors="replace")
                if error := error_of(text):
                    self.last_error = error
                shown = progress_of(text)
                if shown and shown != last:
                    last = shown
                    report(shown)
        os.close(reading)
        os.close(self._original)

    def quiet(self) -> None:
        """No more reports: the engine is up. Its output still passes through."""
        self._report = None

    def close(self) -> None:
        """Put standard error back; the pipe ends once the engine's processes have."""
        self._report = None
        if os.path.samestat(os.fstat(2), self._pipe):  # unless somebody else has redirected it since
            os.dup2(self._original, 2)
