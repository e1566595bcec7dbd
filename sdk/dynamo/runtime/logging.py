"""Logging of a process that uses the runtime directly. Replicas set up theirs through the SDK.

`DYN_LOG` gives the levels: `info`, or `debug,dynamo.runtime=trace,httpx=warning`.
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


def parse_levels(text: str) -> tuple[int, dict[str, int]]:
    """The root level and those of named loggers. A word that is no level is skipped: logging must not fail."""
    root, named = logging.INFO, {}
    for part in text.split(","):
        name, separator, level = part.strip().partition("=")
        if separator and level.lower() in _LEVELS:
            named[name.replace("::", ".")] = _LEVELS[level.lower()]
        elif not separator and name.lower() in _LEVELS:
            root = _LEVELS[name.lower()]
    return root, named


def configure_dynamo_logging(service_name: str | None = None, worker_id: int | None = None) -> None:
    """Send everything to stderr, one line a record, at the levels of `DYN_LOG`. Replaces the root's handlers."""
    logging.addLevelName(TRACE, "TRACE")
    prefix = ":".join(str(part) for part in (service_name, worker_id) if part is not None)
    layout = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"
    formatter = logging.Formatter(f"[{prefix}] {layout}" if prefix else layout, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root_level, named = parse_levels(os.environ.get("DYN_LOG", "info"))
    logging.basicConfig(level=root_level, handlers=[handler], force=True)
    for name, level in named.items():
        logging.getLogger(name).setLevel(level)
