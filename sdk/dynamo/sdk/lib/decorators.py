"""Old path of the decorators."""

from __future__ import annotations

from dynamo.sdk.endpoints import Endpoint as DynamoEndpoint
from dynamo.sdk.endpoints import api, endpoint
from dynamo.sdk.endpoints import api as dynamo_api
from dynamo.sdk.endpoints import endpoint as dynamo_endpoint
from dynamo.sdk.hooks import async_on_shutdown, async_on_start, on_shutdown

__all__ = [
    "DynamoEndpoint",
    "api",
    "async_on_shutdown",
    "async_on_start",
    "dynamo_api",
    "dynamo_endpoint",
    "endpoint",
    "on_shutdown",
]
