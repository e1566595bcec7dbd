"""Logging of a replica: one line an event on stderr, levels from `DYN_LOG`, configured once.

`DYN_LOG` is a level, or a list such as `info,dynamo.runtime=debug,uvicorn=warning`. Rust-style module paths
(`dynamo_runtime::pipeline=trace`) of older environments are read as well.
"""

from __future__ import annotations

import logging
import os
import sys
import time

TRACE = 5
_LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "off": logging.CRITICAL + 10,
}
_configured = False


def parse_filter(text: str) -> tuple[int, dict[str, int]]:
    """The level of everything, and those of single loggers. What cannot be read is left out."""
    root, single = logging.INFO, {}
    for part in text.split(","):
        name, equals, level = part.strip().rpartition("=")
        value = _LEVELS.get(level.strip().lower())
        if value is None:
            continue
        if equals:
            single[name.strip().replace("::", ".")] = value
        else:
            root = value
    return root, single


class LineFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO logger: message`; UTC, so that lines of several hosts sort."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.converter = time.gmtime


def configure_server_logging(service_name: str | None = None, worker_id: int | None = None) -> None:  # noqa: ARG001
    """Send the process's logs to stderr, once. Both arguments are accepted for old code.

    Which replica a line comes from is known to whoever keeps the log file, so lines do not repeat it.
    """
    global _configured
    if _configured:
        return
    _configured = True
    logging.addLevelName(TRACE, "TRACE")
    root_level, single = parse_filter(os.environ.get("DYN_LOG", ""))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(root_level)
    # Every request, and every step of a server's start, would be a line; ask for them with DYN_LOG=uvicorn.access=info.
    quiet = dict.fromkeys(("uvicorn.access", "uvicorn.error", "asyncio"), max(root_level, logging.WARNING))
    for name, level in {**quiet, **single}.items():
        logging.getLogger(name).setLevel(level)
