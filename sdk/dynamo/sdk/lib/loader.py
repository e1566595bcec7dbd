"""Old path of the loader."""

from __future__ import annotations

from dynamo.sdk.loader import find_and_load_service

__all__ = ["find_and_load_service"]
