"""Logging of a replica: one line an event on stderr, levels from `DYN_LOG`, configured once."""

from __future__ import annotations

import logging
import os

from dynamo.runtime.logging import configure_dynamo_logging, parse_levels

_configured = False


def configure_server_logging(service_name: str | None = None, worker_id: int | None = None) -> None:  # noqa: ARG001
    """Send the process's logs to stderr, once. Both arguments are accepted for old code.

    Which replica a line comes from is known to whoever keeps the log file, so lines do not repeat it.
    """
    global _configured
    if _configured:
        return
    _configured = True
    configure_dynamo_logging()
    _, named = parse_levels(os.environ.get("DYN_LOG", "info"))
    # Every request, and every step of a server's start, would be a line; ask for them with DYN_LOG=uvicorn.access=info.
    for name in ("uvicorn.access", "uvicorn.error", "asyncio"):
        if name not in named:
            logging.getLogger(name).setLevel(max(logging.getLogger().level, logging.WARNING))
