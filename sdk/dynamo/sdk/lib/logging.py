"""Old path of the logging set-up."""

from __future__ import annotations

from dynamo.sdk.logging import configure_server_logging

__all__ = ["configure_server_logging"]
