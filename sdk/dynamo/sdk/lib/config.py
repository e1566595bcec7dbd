"""Old path of `ServiceConfig`."""

from __future__ import annotations

from dynamo.sdk.config import ServiceConfig

__all__ = ["ServiceConfig"]
