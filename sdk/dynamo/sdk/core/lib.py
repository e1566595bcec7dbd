"""Old path of the authoring API."""

from __future__ import annotations

from dynamo.sdk.context import DYNAMO_IMAGE
from dynamo.sdk.dependency import depends
from dynamo.sdk.hooks import liveness, readiness
from dynamo.sdk.services import service

__all__ = ["DYNAMO_IMAGE", "depends", "liveness", "readiness", "service"]
