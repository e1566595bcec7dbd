"""Old path of `DYNAMO_IMAGE`."""

from __future__ import annotations

from dynamo.sdk.context import DYNAMO_IMAGE

__all__ = ["DYNAMO_IMAGE"]
